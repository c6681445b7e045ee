#include "tree/scratch.hpp"

#include <new>
#include <utility>

namespace firn::tree::detail {

constinit thread_local Scratch* thread_scratch = nullptr;

namespace {

// What runs after this thread's destructors gets new memory, given back by nobody.
struct ScratchEnd {
  bool expected = false;
  ~ScratchEnd() { delete std::exchange(thread_scratch, nullptr); }
};
thread_local ScratchEnd scratch_end;

}  // namespace

Scratch* make_scratch() noexcept {
  thread_scratch = new (std::nothrow) Scratch;
  scratch_end.expected = true;  // the first touch has its destructor called
  return thread_scratch;
}

}  // namespace firn::tree::detail

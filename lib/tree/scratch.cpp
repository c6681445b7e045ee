#include "tree/scratch.hpp"

#include <new>

namespace firn::tree {
namespace {

constinit thread_local Scratch* scratch = nullptr;

// What runs after this thread's destructors gets new memory, given back by nobody.
struct ScratchEnd {
  bool expected = false;
  ~ScratchEnd() {
    delete scratch;
    scratch = nullptr;
  }
};
thread_local ScratchEnd scratch_end;

}  // namespace

Scratch* scratch_of_this_thread() noexcept {
  if (scratch == nullptr) {
    scratch = new (std::nothrow) Scratch;
    scratch_end.expected = true;  // the first touch has its destructor called
  }
  return scratch;
}

}  // namespace firn::tree

// A key order that calls somebody in the midst of a search: the table's latch is held meanwhile.
#pragma once

#include <firn/bytes.hpp>

#include <compare>
#include <string_view>
#include <utility>

namespace firn::test {

struct StoppingOrder {
  static constexpr std::string_view id = "test.stopping.1";
  static std::strong_ordering compare(Bytes left, Bytes right) noexcept {
    if (const auto now = std::exchange(call, nullptr)) now(context);
    return left <=> right;
  }
  static inline thread_local void (*call)(void*) noexcept = nullptr;
  static inline thread_local void* context = nullptr;
};

/// Has `work()` called once, in this thread's next comparison of keys by that order, if it comes
/// within the scope. It may post operations that then wait for the latch, and nothing else of
/// Firn's.
class StopNextSearch {
 public:
  template <class Work>
  explicit StopNextSearch(Work& work) noexcept {
    StoppingOrder::context = &work;
    StoppingOrder::call = [](void* context) noexcept { (*static_cast<Work*>(context))(); };
  }
  ~StopNextSearch() { StoppingOrder::call = nullptr; }
  StopNextSearch(const StopNextSearch&) = delete;
  StopNextSearch& operator=(const StopNextSearch&) = delete;
};

}  // namespace firn::test

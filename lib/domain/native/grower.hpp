// Makes the segment of a native domain larger: ahead of need, and when a write finds no room in it.
// On a fiber of its own, which needs no page, no memory of the pool and no write, so that whatever
// waits for room, the checkpoint too, waits for nothing but the file system.
#pragma once

#include <atomic>
#include <cstdint>

#include "runtime/executor_core.hpp"
#include "store/store.hpp"

namespace firn::domain {

class NativeDomain;

class Grower final : public store::RoomMaker {
 public:
  explicit Grower(NativeDomain& domain) noexcept : domain_(domain) {}
  Grower(const Grower&) = delete;
  Grower& operator=(const Grower&) = delete;

  /// Any thread. Asks for a look whether room is lacking; several calls may share one that begins
  /// after them.
  void make_room() noexcept override;
  /// Whether none is under way. The background executor's thread, when nobody asks any more.
  [[nodiscard]] bool idle() const noexcept { return asked_.load() == 0; }

 private:
  struct Call : runtime::Runnable {
    Grower* grower = nullptr;
  };
  void start() noexcept;
  void run() noexcept;

  NativeDomain& domain_;
  Call call_;
  // Calls that no look answers yet: whoever raises it from 0 starts the fiber.
  std::atomic<std::uint32_t> asked_{0};
};

}  // namespace firn::domain

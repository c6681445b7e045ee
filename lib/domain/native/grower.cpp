#include "domain/native/grower.hpp"

#include "domain/native/fibers.hpp"
#include "domain/native/native.hpp"

namespace firn::domain {

void Grower::make_room() noexcept {
  if (asked_.fetch_add(1) > 0) return;
  call_.grower = this;
  call_.home = &domain_.background();
  call_.run = [](runtime::Runnable& runnable) noexcept {
    static_cast<Call&>(runnable).grower->start();
  };
  domain_.background().send(call_);
}

void Grower::start() noexcept {
  const auto started = spawn(
      domain_.background(), [](void* context) noexcept { static_cast<Grower*>(context)->run(); },
      this);
  if (started.has_value()) return;
  // Without memory for a fiber those who wait are told that there is no room.
  std::uint32_t asked = 0;
  do {
    asked = asked_.load();
    domain_.store().room_made(false);
  } while (asked_.fetch_sub(asked) != asked);
}

// Who asks while it grows looked for room before that or waits already: it looks once more.
void Grower::run() noexcept {
  std::uint32_t asked = 0;
  do {
    asked = asked_.load();
    if (domain_.lacks_room()) domain_.store().room_made(domain_.grow());
  } while (asked_.fetch_sub(asked) != asked);
}

}  // namespace firn::domain

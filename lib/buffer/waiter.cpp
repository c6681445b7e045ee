#include "buffer/waiter.hpp"

#include <utility>

#include "buffer/pool.hpp"

namespace firn::buffer {

Waiter::Waiter(Pool& pool, OperationBase& operation) noexcept
    : pool_(pool), runnable_(OperationAccess::runnable(operation)), operation_(&operation) {
  pool_.waiting_operations_.fetch_add(1);
}

Waiter::~Waiter() {
  done();
  if (operation_ != nullptr) pool_.waiting_operations_.fetch_sub(1);
}

void Waiter::done() noexcept { pool_.give_back(*this); }

bool Quota::add(std::uint64_t amount, std::uint64_t reserve) noexcept {
  std::uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    const bool there = used + amount + reserve <= limit_.load(std::memory_order_relaxed);
    if (!there && !(one_always_ && used == 0)) return false;
  } while (!used_.compare_exchange_weak(used, used + amount));
  return true;
}

bool Quota::take(std::uint64_t amount, bool urgent) noexcept {
  if (urgent) return add(amount, 0);
  return !waiting_.load() && add(amount, reserve_.load(std::memory_order_relaxed));
}

void Quota::give(std::uint64_t amount) noexcept {
  if (amount == 0) return;
  const std::uint64_t before = used_.fetch_sub(amount);
  FIRN_ASSERT(before >= amount);
  // The waiter entered the queue and then looked at `used_`; this is the other way round.
  if (waiting_.load()) grant();
}

void Quota::park(Waiter& waiter, std::uint64_t amount, std::uint64_t& grant_to) noexcept {
  {
    const base::SpinGuard guard(lock_);
    waiter.wanted_ = amount;
    waiter.grant_ = &grant_to;
    waiter.commit();
    Waiter** place = last_ == nullptr ? &first_ : &last_->next_;
    if (waiter.urgent()) {
      place = &first_;
      while (*place != nullptr && (*place)->urgent()) place = &(*place)->next_;
    }
    waiter.next_ = std::exchange(*place, &waiter);
    if (waiter.next_ == nullptr) last_ = &waiter;
    waiting_.store(true);
  }
  grant();
}

void Quota::grant() noexcept {
  while (true) {
    Waiter* waiter = nullptr;
    {
      const base::SpinGuard guard(lock_);
      waiter = first_;
      if (waiter == nullptr || !add(waiter->wanted_, waiter->urgent() ? 0 : reserve_.load())) {
        return;
      }
      first_ = waiter->next_;
      if (first_ == nullptr) {
        last_ = nullptr;
        waiting_.store(false);
      }
      *waiter->grant_ = waiter->wanted_;
    }
    waiter->wake();
  }
}

void Quota::refuse(const Error& error) noexcept {
  rouse([&](Waiter& waiter) noexcept {
    waiter.refused_ = true;
    waiter.error_ = error;
    return true;
  });
}

void Quota::set_limit(std::uint64_t limit) noexcept {
  limit_.store(limit);
  grant();
}

}  // namespace firn::buffer

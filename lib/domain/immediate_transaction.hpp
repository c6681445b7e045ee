// Transactions of a domain type whose updates apply at once: they only count as open.
#pragma once

#include "domain/core.hpp"

namespace firn::domain {

/// `Domain` has `open_transaction_count`, and is kept by the transaction. One thread at a time.
template <class Domain>
class ImmediateTransaction : public detail::TransactionCore {
 public:
  ImmediateTransaction(Domain& domain, const TransactionOptions& options) noexcept
      : TransactionCore(domain, options), domain_(domain) {
    detail::retain(domain);
    domain_.open_transaction_count.fetch_add(1, std::memory_order_relaxed);
  }
  ~ImmediateTransaction() override {
    close_once();
    detail::release(domain_);
  }

  Result<void> force() noexcept override { return {}; }
  void drop() noexcept override { delete this; }

 protected:
  void committed() noexcept {
    transition(State::committed);
    close_once();
  }
  [[nodiscard]] Domain& own_domain() noexcept { return domain_; }

 private:
  void close_once() noexcept {
    if (!open_) return;
    open_ = false;
    domain_.open_transaction_count.fetch_sub(1, std::memory_order_relaxed);
  }
  Domain& domain_;
  bool open_ = true;
};

}  // namespace firn::domain

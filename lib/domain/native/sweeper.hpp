// Frees the pages of trees that nobody uses any more: of destroyed tables, and what volatile tables
// held before the domain was opened. The catalogue remembers them until that is done, so that no
// crash loses space. A fiber of the background executor while there is something to do.
#pragma once

#include <deque>

#include "domain/core.hpp"
#include "domain/native/catalogue_row.hpp"
#include "runtime/fiber.hpp"

namespace firn::domain {

class NativeDomain;
class NativeTable;

class Sweeper {
 public:
  explicit Sweeper(NativeDomain& domain) noexcept : domain_(domain) {}
  ~Sweeper();
  Sweeper(const Sweeper&) = delete;
  Sweeper& operator=(const Sweeper&) = delete;

  /// A table whose row is `destroyed` or has a former root. Without memory for it the next opening
  /// frees the pages.
  void add(NativeTable& table) noexcept;
  /// No new one is begun; whether none is under way.
  void end() noexcept { ending_ = true; }
  [[nodiscard]] bool ended() const noexcept { return !running_; }

 private:
  void run() noexcept;
  Result<void> sweep(NativeTable& table) noexcept;

  NativeDomain& domain_;
  std::deque<detail::BorrowedTable> waiting_;
  bool running_ = false;
  bool ending_ = false;
};

}  // namespace firn::domain

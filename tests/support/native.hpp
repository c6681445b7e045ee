// Native domains in scratch files, and what tests do to such files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "domain/native/native.hpp"
#include "support/light.hpp"
#include "support/scratch.hpp"

namespace firn::test {

/// The file of one domain, which lives as long as this.
class NativeFile {
 public:
  [[nodiscard]] std::string path() const { return scratch_.file("domain.firn"); }

  [[nodiscard]] Result<Domain> try_open(DomainOptions options = small()) const {
    return Domain::open(path(), options).wait();
  }
  [[nodiscard]] Domain open(DomainOptions options = small()) const {
    auto opened = try_open(options);
    if (!opened.has_value()) FAIL(opened.error().message());
    return *std::move(opened);
  }
  /// What a crash leaves now: a copy of the file, while the domain is open and writes nothing.
  [[nodiscard]] std::string crashed() {
    const std::string copy = scratch_.file("crashed.firn");
    std::filesystem::copy_file(path(), copy, std::filesystem::copy_options::overwrite_existing);
    return copy;
  }

  /// Few pages in memory, and no checkpoint but those that are asked for.
  static DomainOptions small() {
    DomainOptions options;
    options.memory_budget = 2_MiB;
    options.checkpoint_bytes = 1_GiB;
    options.checkpoint_interval = std::chrono::hours(1);
    return options;
  }

 private:
  Scratch scratch_;
};

inline Domain open_at(const std::string& path, DomainOptions options = NativeFile::small()) {
  auto opened = Domain::open(path, options).wait();
  if (!opened.has_value()) FAIL(opened.error().message());
  return *std::move(opened);
}

inline domain::NativeDomain& native_of(const Domain& domain) {
  REQUIRE(domain.type() == DomainType::native);
  return static_cast<domain::NativeDomain&>(*domain.core());
}

template <class Type>
Table<Type> create_persistent(Domain& domain, std::string_view name, TableOptions options = {}) {
  auto made = domain.create_table<Type>(name, std::move(options)).wait();
  if (!made.has_value()) FAIL(made.error().message());
  return *std::move(made);
}

inline void checkpoint(Domain& domain) {
  auto done = domain.checkpoint().wait();
  if (!done.has_value()) FAIL(done.error().message());
}

inline void close(Domain& domain) {
  auto done = domain.close().wait();
  if (!done.has_value()) FAIL(done.error().message());
}

/// Waits, making checkpoints meanwhile, until `holds()`; false: it does not come to that.
inline bool comes_about(Domain& domain, const std::function<bool()>& holds) {
  for (int attempt = 0; attempt < 400; ++attempt) {
    if (holds()) return true;
    checkpoint(domain);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace firn::test

// The domain types that a test of the contract runs on. A new type joins by one entry.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <firn/firn.hpp>

namespace firn::tests {

struct DomainFactory {
  DomainType type;
  /// What a domain of the type is opened at. `name` differs between domains open at one time.
  std::string (*path)(std::string_view name);
  /// Removes what a former run left there.
  void (*remove)(const std::string& path);
  std::uint64_t memory_budget = DomainOptions().memory_budget;

  [[nodiscard]] std::string_view name() const noexcept { return name_of(type); }
  [[nodiscard]] Capability capabilities() const noexcept { return capabilities_of(type); }
  [[nodiscard]] DomainOptions options() const {
    DomainOptions options;
    options.type = type;
    options.memory_budget = memory_budget;
    return options;
  }
  /// Tables are made persistent where the type can.
  [[nodiscard]] TableOptions table_options() const {
    TableOptions options;
    options.persistence = includes(capabilities(), Capability::persistent) ? Persistence::persistent
                                                                           : Persistence::volatile_;
    return options;
  }
};

/// A directory of this process for domains that lie in files, gone with it.
inline const std::string& directory_of_domains() {
  struct Directory {
    Directory() {
      std::string name = std::filesystem::temp_directory_path() / "firn-domains-XXXXXX";
      if (::mkdtemp(name.data()) != nullptr) path = name;
    }
    ~Directory() {
      std::error_code ignored;
      if (::getpid() == owner) std::filesystem::remove_all(path, ignored);
    }
    std::string path;
    const pid_t owner = ::getpid();
  };
  static const Directory directory;
  return directory.path;
}

inline const std::vector<DomainFactory>& every_domain() {
  static const std::vector<DomainFactory> factories = {
      {.type = DomainType::light,
       .path = [](std::string_view name) { return std::string(name); },
       .remove = [](const std::string&) {}},
      {.type = DomainType::native,
       .path =
           [](std::string_view name) {
             std::string file(name);
             for (char& each : file) each = each == '/' ? '-' : each;
             return directory_of_domains() + "/" + file + ".firn";
           },
       .remove = [](const std::string& path) { ::unlink(path.c_str()); }},
  };
  return factories;
}

/// Null when no type of that name is part of this build.
inline const DomainFactory* domain_named(std::string_view name) {
  for (const DomainFactory& factory : every_domain()) {
    if (factory.name() == name) return &factory;
  }
  return nullptr;
}

/// The one that FIRN_DOMAIN names, else the first.
inline const DomainFactory& chosen_domains_first() {
  const char* chosen = std::getenv("FIRN_DOMAIN");
  const DomainFactory* factory = chosen == nullptr ? nullptr : domain_named(chosen);
  return factory == nullptr ? every_domain().front() : *factory;
}

/// All of them, or the one that FIRN_DOMAIN names (none, if there is no such).
inline std::vector<DomainFactory> chosen_domains() {
  const char* chosen = std::getenv("FIRN_DOMAIN");
  if (chosen == nullptr || *chosen == '\0') return every_domain();
  const DomainFactory* factory = domain_named(chosen);
  return factory == nullptr ? std::vector<DomainFactory>{} : std::vector<DomainFactory>{*factory};
}

/// Those of them that do nothing behind an executor: a seed repeats all that happens to them.
inline std::vector<DomainFactory> repeatable_domains() {
  std::vector<DomainFactory> repeatable;
  for (const DomainFactory& factory : chosen_domains()) {
    if (factory.type == DomainType::light) repeatable.push_back(factory);
  }
  return repeatable;
}

}  // namespace firn::tests

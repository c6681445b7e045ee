// Options as text: names, numbers with units, and the nearest known name for an unknown one.
#include <firn/options.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "base/allocation.hpp"
#include "base/nearest.hpp"

namespace firn {
namespace {

struct CapabilityName {
  Capability capability;
  const char* name;
};
constexpr CapabilityName capability_names[] = {
    {Capability::ordered, "ordered"},
    {Capability::sacks, "sacks"},
    {Capability::persistent, "persistent"},
    {Capability::atomic, "atomic"},
    {Capability::abort, "abort"},
    {Capability::notify, "notify"},
    {Capability::segments, "segments"},
    {Capability::remote_segments, "remote_segments"},
    {Capability::larger_than_memory, "larger_than_memory"},
    {Capability::upsert, "upsert"},
    {Capability::range_erase, "range_erase"},
    {Capability::snapshots, "snapshots"},
};
constexpr std::array<const char*, 4> type_names = {"native", "light", "db5", "rvm"};

// "64MiB", "1 GiB", "4096": bytes, or nothing if the text is no such number or does not fit.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc()) return std::nullopt;
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  constexpr std::array<std::string_view, 5> units = {"", "KiB", "MiB", "GiB", "TiB"};
  for (std::size_t index = 0; index < units.size(); ++index) {
    if (unit != units[index]) continue;
    const std::size_t shift = 10 * index;
    if (number > (~std::uint64_t{0} >> shift)) return std::nullopt;
    return number << shift;
  }
  return std::nullopt;
}

Result<void> set_type(DomainOptions& options, std::string_view value) noexcept {
  for (std::size_t index = 0; index < type_names.size(); ++index) {
    if (value == type_names[index]) {
      options.type = static_cast<DomainType>(index);
      return {};
    }
  }
  return fail(ErrorCode::invalid_argument, "no such domain type; the nearest one is '{s}'", 0,
              base::nearest(value, type_names));
}

Result<void> set_size(std::uint64_t& option, std::string_view value) noexcept {
  const std::optional<std::uint64_t> size = parse_size(value);
  if (!size.has_value()) {
    return fail(ErrorCode::invalid_argument,
                "a size is a number of bytes with KiB, MiB, GiB or TiB, as in 64MiB");
  }
  option = *size;
  return {};
}
Result<void> set_memory_budget(DomainOptions& options, std::string_view value) noexcept {
  return set_size(options.memory_budget, value);
}
Result<void> set_checkpoint_bytes(DomainOptions& options, std::string_view value) noexcept {
  return set_size(options.checkpoint_bytes, value);
}

Result<void> set_checkpoint_interval(DomainOptions& options, std::string_view value) noexcept {
  constexpr std::uint64_t milliseconds_max = 1ULL << 40;  // 34 years
  constexpr std::pair<std::string_view, std::uint64_t> units[] = {
      {"ms", 1}, {"s", 1000}, {"min", 60'000}};
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(value.data(), value.data() + value.size(), number);
  const std::string_view unit(end, static_cast<std::size_t>(value.data() + value.size() - end));
  for (const auto& [name, factor] : units) {
    if (problem != std::errc() || unit != name || number > milliseconds_max / factor) continue;
    options.checkpoint_interval = std::chrono::milliseconds(number * factor);
    return {};
  }
  return fail(ErrorCode::invalid_argument, "a time is a number with ms, s or min, as in 500ms");
}

Result<void> set_background_thread(DomainOptions& options, std::string_view value) noexcept {
  if (value != "yes" && value != "no") {
    return fail(ErrorCode::invalid_argument, "this option is yes or no");
  }
  options.background_thread = value == "yes";
  return {};
}

Result<void> set_required(DomainOptions& options, std::string_view value) noexcept {
  Capability required = Capability::none;
  while (!value.empty()) {
    const std::size_t comma = std::min(value.find(','), value.size());
    const std::string_view name = value.substr(0, comma);
    value.remove_prefix(std::min(comma + 1, value.size()));
    const auto* found =
        std::find_if(std::begin(capability_names), std::end(capability_names),
                     [name](const CapabilityName& known) { return name == known.name; });
    if (found == std::end(capability_names)) {
      std::array<const char*, std::size(capability_names)> names;
      std::transform(std::begin(capability_names), std::end(capability_names), names.begin(),
                     [](const CapabilityName& known) { return known.name; });
      return fail(ErrorCode::invalid_argument, "no such capability; the nearest one is '{s}'", 0,
                  base::nearest(name, names));
    }
    required = required | found->capability;
  }
  options.required = required;
  return {};
}

struct OptionSetter {
  const char* name;
  const char* variable;
  Result<void> (*set)(DomainOptions&, std::string_view) noexcept;
};
constexpr OptionSetter option_setters[] = {
    {"type", "FIRN_TYPE", &set_type},
    {"memory_budget", "FIRN_MEMORY_BUDGET", &set_memory_budget},
    {"required", "FIRN_REQUIRED", &set_required},
    {"background_thread", "FIRN_BACKGROUND_THREAD", &set_background_thread},
    {"checkpoint_bytes", "FIRN_CHECKPOINT_BYTES", &set_checkpoint_bytes},
    {"checkpoint_interval", "FIRN_CHECKPOINT_INTERVAL", &set_checkpoint_interval},
};

// Variables of the project that are no options: switches of its tests and scripts. Those of the
// environment that nobody reads are misspelt, and tools/tidy.py sees to it that this list is whole.
constexpr const char* switch_variables[] = {
    "FIRN_DOMAIN", "FIRN_GOLDEN", "FIRN_LONG", "FIRN_PLANT", "FIRN_SEED", "FIRN_STRESS_SECONDS",
};

Result<void> check_environment() noexcept {
  std::array<const char*, std::size(option_setters)> names;
  std::transform(std::begin(option_setters), std::end(option_setters), names.begin(),
                 [](const OptionSetter& setter) { return setter.variable; });
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    std::string_view name(*entry);
    name = name.substr(0, name.find('='));
    if (!name.starts_with("FIRN_")) continue;
    const auto is_it = [name](const char* known) { return name == known; };
    if (std::any_of(names.begin(), names.end(), is_it)) continue;
    if (std::any_of(std::begin(switch_variables), std::end(switch_variables), is_it)) continue;
    return fail(ErrorCode::invalid_argument,
                "the environment has a FIRN_ variable that is not known; the nearest one is '{s}'",
                0, base::nearest(name, names));
  }
  return {};
}

}  // namespace

std::string_view name_of(DomainType type) noexcept {
  const auto index = static_cast<std::size_t>(type);
  return index < type_names.size() ? type_names[index] : "unknown";
}

std::string_view name_of(Capability capability) noexcept {
  for (const CapabilityName& known : capability_names) {
    if (known.capability == capability) return known.name;
  }
  return "unknown";
}

Capability capabilities_of(DomainType type) noexcept {
  switch (type) {
    case DomainType::light:
      return Capability::ordered | Capability::sacks | Capability::notify;
    case DomainType::native:
      return Capability::ordered | Capability::sacks | Capability::persistent |
             Capability::larger_than_memory;
    case DomainType::db5:
    case DomainType::rvm:
      return Capability::none;
  }
  return Capability::none;
}

Result<void> set_option(DomainOptions& options, std::string_view name,
                        std::string_view value) noexcept {
  std::array<const char*, std::size(option_setters)> names;
  for (std::size_t index = 0; index < names.size(); ++index) {
    if (name == option_setters[index].name) return option_setters[index].set(options, value);
    names[index] = option_setters[index].name;
  }
  return fail(ErrorCode::invalid_argument, "no such option; the nearest one is '{s}'", 0,
              base::nearest(name, names));
}

Result<DomainOptions> options_from_environment(DomainOptions base) noexcept {
  FIRN_TRY(check_environment());
  for (const OptionSetter& setter : option_setters) {
    const char* value = std::getenv(setter.variable);
    if (value != nullptr) FIRN_TRY(setter.set(base, value));
  }
  return base;
}

}  // namespace firn

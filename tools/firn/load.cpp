#include "load.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

namespace firn::cli {
namespace {

constexpr auto look_interval = std::chrono::milliseconds(5);
constexpr std::uint64_t budgets_of_data = 10;

std::uint64_t mixed(std::uint64_t number) noexcept {
  number = (number ^ (number >> 33)) * 0xff51afd7ed558ccdULL;
  number = (number ^ (number >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return number ^ (number >> 33);
}

// The same type with the hints that make leaves of that size.
template <std::uint32_t typical_size, bool writes>
struct SizedType : BytesType {
  static constexpr Hints hints{.record_size_typical = typical_size, .write_heavy = writes};
};
template <class Type>
Result<PairTable> make_table(Domain& domain) {
  auto table = domain.create_table<Type>("pairs").wait();
  if (!table.has_value()) return fail(table.error());
  return PairTable(table->take_core());
}
Result<PairTable> make_table(Domain& domain, std::uint32_t leaf_size) {
  switch (leaf_size) {
    case 4096:
      return make_table<SizedType<100, false>>(domain);
    case 8192:
      return make_table<SizedType<0, false>>(domain);
    case 16384:
      return make_table<SizedType<0, true>>(domain);
    case 32768:
      return make_table<SizedType<2048, false>>(domain);
    default:
      return make_table<SizedType<4096, false>>(domain);
  }
}

std::uint64_t memory_of(const BenchOptions& options) noexcept {
  DomainOptions parsed;
  return set_option(parsed, "memory_budget", options.memory).has_value() ? parsed.memory_budget : 0;
}
std::uint64_t pairs_of(const BenchOptions& options) noexcept {
  if (options.pairs != 0) return options.pairs;
  return std::max<std::uint64_t>(
      1, budgets_of_data * memory_of(options) / (sizeof(PairKey) + options.value_size));
}

}  // namespace

Permutation::Permutation(std::uint64_t count, std::uint64_t seed) noexcept
    : count_(count), seed_(mixed(seed)) {
  while (half_bits_ < 32 && (std::uint64_t{1} << (2 * half_bits_)) < count) ++half_bits_;
}

// A Feistel network over the next power of four, repeated until the number is in range.
std::uint64_t Permutation::operator()(std::uint64_t index) const noexcept {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    std::uint64_t left = index >> half_bits_;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < 3; ++round) {
      const std::uint64_t next = left ^ (mixed(right + seed_ + round) & mask);
      left = right;
      right = next;
    }
    index = left << half_bits_ | right;
  } while (index >= count_);
  return index;
}

PairKey key_of(std::uint64_t number) noexcept {
  PairKey key;
  const std::uint64_t swapped = __builtin_bswap64(number);
  std::memcpy(key.data(), &swapped, sizeof swapped);
  return key;
}

bool is_record_of(std::uint64_t number, Bytes record) noexcept {
  const std::uint64_t expected = mixed(number);
  return record.size() >= sizeof expected &&
         std::memcmp(record.data(), &expected, sizeof expected) == 0;
}

std::uint64_t resident_bytes() noexcept {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  const bool read =
      file != nullptr && std::fscanf(file, "%llu %llu %llu", &size, &resident, &shared) == 3;
  if (file != nullptr) std::fclose(file);
  return read ? (resident - shared) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

double processor_seconds() noexcept {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Times::add(Clock::duration time) noexcept {
  const auto nanoseconds = static_cast<std::uint64_t>(
      std::max<std::int64_t>(std::chrono::nanoseconds(time).count(), 1 << fine_bits));
  const unsigned shift = static_cast<unsigned>(std::bit_width(nanoseconds)) - 1 - fine_bits;
  ++counts_[(shift << fine_bits) + (nanoseconds >> shift)];
  ++count_;
}

void Times::add(const Times& other) noexcept {
  for (std::size_t index = 0; index < counts_.size(); ++index) {
    counts_[index] += other.counts_[index];
  }
  count_ += other.count_;
}

double Times::quantile(double part) const noexcept {
  auto left = static_cast<std::uint64_t>(part * static_cast<double>(count_));
  for (std::size_t index = 0; index < counts_.size(); ++index) {
    if (left < counts_[index]) {
      const std::size_t shift = (index >> fine_bits) - 1;
      const std::size_t leading = index - (shift << fine_bits);
      return static_cast<double>((leading + 1) << shift) / 1000;
    }
    left -= counts_[index];
  }
  return 0;
}

DataFile::DataFile(const BenchOptions& options) noexcept
    : options_(options), pair_count_(pairs_of(options)), path_(options.file) {}

DataFile::~DataFile() {
  table_ = {};
  domain_ = {};
  if (temporary_) std::remove(path_.c_str());
}

Result<void> DataFile::open() {
  if (path_.empty()) {
    path_ = fmt::format("{}/firn-bench-{}", std::filesystem::temp_directory_path().string(),
                        ::getpid());
    temporary_ = true;
  }
  DomainOptions domain_options;
  FIRN_TRY(set_option(domain_options, "memory_budget", options_.memory));
  resident_before_ = resident_bytes();
  FIRN_TRY_ASSIGN(domain_, Domain::open(path_, domain_options).wait());
  return {};
}

Result<void> DataFile::create() {
  FIRN_TRY(open());
  FIRN_TRY_ASSIGN(const auto tables, domain_.tables().wait());
  if (!tables.empty()) return fail(ErrorCode::already_exists, "the file has a table already");
  made_ = true;
  FIRN_TRY_ASSIGN(table_, make_table(domain_, options_.leaf_size));
  return {};
}

Result<void> DataFile::open_table() {
  FIRN_TRY_ASSIGN(table_, domain_.open_table<BytesType>("pairs").wait());
  FIRN_TRY_ASSIGN(const auto tables, domain_.tables().wait());
  if (tables.size() != 1 || tables[0].pair_count != pair_count_ ||
      tables[0].leaf_size != options_.leaf_size) {
    return fail(ErrorCode::already_exists, "the file holds other pairs than those asked for");
  }
  return {};
}

Result<void> DataFile::open_filled() {
  FIRN_TRY(open());
  if (made_) return open_table();
  FIRN_TRY_ASSIGN(const auto tables, domain_.tables().wait());
  if (!tables.empty()) return open_table();
  made_ = true;
  FIRN_TRY_ASSIGN(table_, make_table(domain_, options_.leaf_size));
  FIRN_TRY(fill(true));
  FIRN_TRY(close());
  return open_filled();
}

Result<void> DataFile::fill(bool in_order) {
  constexpr std::uint32_t depth_max = 4096;
  const std::uint64_t resident = resident_bytes();
  FIRN_TRY_ASSIGN(auto executor, Executor::create());
  Flight<WriteOperation<BytesType>> flight(std::min(depth_max, options_.in_flight), false);
  resident_before_ += resident_bytes() - std::min(resident, resident_bytes());  // not the domain's
  const Permutation permuted(pair_count_, options_.seed);
  std::uint64_t next = 0;
  return flight.run(
      executor,
      [&](auto& slot) noexcept {
        if (next == pair_count_) return false;
        slot.number = in_order ? next : permuted(next);
        ++next;
        slot.key = key_of(slot.number);
        slot.value.resize(options_.value_size, 'v');
        const std::uint64_t mark = mixed(slot.number);
        std::memcpy(slot.value.data(), &mark, sizeof mark);
        slot.operation.emplace(table_.core(), nullptr, detail::WriteKind::put, Bytes(slot.key),
                               Bytes(slot.value));
        return true;
      },
      [this] { look(); });
}

Result<void> DataFile::close() {
  table_ = {};
  return domain_.close().wait();
}

void DataFile::look() noexcept {
  const auto now = Clock::now();
  if (now - looked_ < look_interval) return;
  looked_ = now;
  const std::uint64_t resident = resident_bytes();
  resident_peak_ = std::max(resident_peak_, resident - std::min(resident, resident_before_));
}

void DataFile::begin() noexcept {
  resident_peak_ = 0;
  before_ = domain_.statistics();
  begun_ = Clock::now();
  processor_seconds_ = processor_seconds();
}

void DataFile::end() noexcept {
  seconds_ = std::chrono::duration<double>(Clock::now() - begun_).count();
  processor_seconds_ = processor_seconds() - processor_seconds_;
  after_ = domain_.statistics();
}

void DataFile::emit(const Emit& emit, std::string_view bench, std::string_view noun,
                    std::uint64_t operations, const Times& times,
                    const nlohmann::ordered_json& more) const {
  const auto count = static_cast<double>(operations);
  const double rate = count / seconds_;
  const double rate_of_processor = count / processor_seconds_;
  const auto budget = static_cast<double>(after_.memory_budget);
  const auto reads = static_cast<double>(after_.page_reads - before_.page_reads);
  nlohmann::ordered_json line = {
      {"bench", bench},
      {"pairs", pair_count_},
      {"value_bytes", options_.value_size},
      {"leaf_bytes", options_.leaf_size},
      {"operations", operations},
      {"seconds", seconds_},
      {"operations_per_second", rate},
      {"operations_per_processor_second", rate_of_processor},
      {"device_reads", after_.page_reads - before_.page_reads},
      {"device_reads_per_operation", reads / count},
      {"memory_budget", after_.memory_budget},
      {"resident_bytes", resident_peak_},
      {"resident_to_budget", static_cast<double>(resident_peak_) / budget}};
  std::string text = fmt::format(
      "{}: {:.0f} {}/s, {:.0f} per processor second; {:.3f} device reads each; resident {:.1f} % "
      "of the budget",
      bench, rate, noun, rate_of_processor, reads / count,
      100 * static_cast<double>(resident_peak_) / budget);
  if (times.count() > 0) {
    line["p50_us"] = times.quantile(0.5);
    line["p99_us"] = times.quantile(0.99);
    text +=
        fmt::format("; p50 {:.1f} us, p99 {:.1f} us", times.quantile(0.5), times.quantile(0.99));
  }
  for (const auto& [name, value] : more.items()) {
    line[name] = value;
    text += fmt::format("; {} {}", name, value.dump());
  }
  emit(line, text);
}

std::uint64_t DataFile::written_bytes() const noexcept {
  return after_.page_write_bytes + after_.other_write_bytes - before_.page_write_bytes -
         before_.other_write_bytes;
}

}  // namespace firn::cli

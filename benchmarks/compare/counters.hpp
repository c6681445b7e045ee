// What a run costs the machine: the device's own counters, processor time, memory, space.
#pragma once

#include <cstdint>
#include <string>

namespace comparison {

struct Counters {
  std::uint64_t device_read_bytes = 0;  ///< of the whole device, whoever caused them
  std::uint64_t device_write_bytes = 0;
  std::uint64_t process_read_bytes = 0;  ///< as /proc/self/io has them
  std::uint64_t process_write_bytes = 0;
  double processor_seconds = 0;  ///< all threads of the process
  double seconds = 0;            ///< a steady clock

  [[nodiscard]] Counters since(const Counters& before) const noexcept;
};

/// Of the device that the directory is on.
class Meter {
 public:
  explicit Meter(const std::string& directory);
  [[nodiscard]] Counters read() const;
  /// Whether the device has counters: false for directories in memory.
  [[nodiscard]] bool has_device() const noexcept { return !device_stat_.empty(); }

 private:
  std::string device_stat_;
};

/// The largest resident size that the process has had.
[[nodiscard]] std::uint64_t peak_resident_bytes();
[[nodiscard]] std::uint64_t resident_bytes();
/// Begins anew with the largest size; false where the kernel does not allow it.
bool reset_peak_resident();
/// Space that the files below the directory take.
[[nodiscard]] std::uint64_t file_bytes(const std::string& directory);
/// Waits until what the kernel holds of these files is on the device.
void sync_files(const std::string& directory);
/// Waits until the process has written nothing for a while, `seconds_max` at the longest.
void wait_for_quiet(double seconds_max);

}  // namespace comparison

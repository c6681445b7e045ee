// Probes of `firn doctor`. A probe tries the thing itself where it can, leaves nothing behind, and
// says what the answer means for Firn. No probe fails: what cannot be found out is a finding, too.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace firn::cli {

enum class State {
  ok,
  limited,  ///< there, but Firn does less or runs slower than it could
  missing,  ///< not there: Firn does without
};

struct Finding {
  std::string name;
  State state = State::ok;
  std::string found = {};
  std::string consequence = {};  ///< what it means for Firn; empty if ok
  std::string advice = {};       ///< what to do about it; empty if ok
};

using Findings = std::vector<Finding>;

// doctor_system.cpp
void probe_kernel(Findings& findings);
void probe_processor(Findings& findings);
void probe_clock(Findings& findings);
void probe_limits(Findings& findings);

// doctor_device.cpp
void probe_io_uring(Findings& findings);
/// `directory` must be one: it is where data files would lie.
void probe_direct_io(Findings& findings, const std::string& directory);
void probe_rdma(Findings& findings);

// doctor_memory.cpp
void probe_memory(Findings& findings);
void probe_reservation(Findings& findings);
void probe_page_release(Findings& findings);
void probe_huge_pages(Findings& findings);
void probe_numa(Findings& findings);

// doctor_text.cpp
/// The first line of a file of /proc or /sys, without its end, or nothing if it cannot be read.
[[nodiscard]] std::optional<std::string> first_line(const std::string& path);
/// The same as a number; nothing if the line is none.
[[nodiscard]] std::optional<std::uint64_t> first_number(const std::string& path);
/// "64 KiB", "23.5 GiB".
[[nodiscard]] std::string size_text(std::uint64_t size_bytes);
/// "Operation not permitted (EPERM)".
[[nodiscard]] std::string errno_text(int number);

}  // namespace firn::cli

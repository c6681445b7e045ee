// The questions that the store answers from its tables alone, and the commands that ask them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store.hpp"

namespace mdfs {

struct Usage {
  std::uint64_t entries = 0;      ///< the directory itself included
  std::uint64_t bytes = 0;        ///< sizes; what has several names counts once
  std::uint64_t bytes_taken = 0;  ///< blocks, the same way
  friend bool operator==(const Usage&, const Usage&) = default;
};

/// The entries of a directory by name; of anything else, itself. By a cursor, blocking.
[[nodiscard]] firn::Result<std::vector<Entry>> list(MetadataStore& store, const Entry& at);

/// Paths below `start`, relative to it and sorted, whose last name matches the pattern of the
/// shell (as fnmatch reads it). On fibers.
[[nodiscard]] firn::Result<std::vector<std::string>> find_names(MetadataStore& store,
                                                                const Entry& start,
                                                                const std::string& pattern);

/// What lies at and below `start`. On fibers.
[[nodiscard]] firn::Result<Usage> usage_of(MetadataStore& store, const Entry& start);

/// The largest files, largest first; equal ones by their origin. By a cursor over all inodes.
[[nodiscard]] firn::Result<std::vector<Entry>> largest(MetadataStore& store, std::size_t count);

/// The body of an inode; `corrupt` if its reference leads nowhere. A coroutine.
[[nodiscard]] firn::Task<firn::Result<Body>> body_of(MetadataStore& store, Inode inode);

/// Runs one command, prints its answer or error, and returns an exit status: 0, 1 if the store has
/// no answer, 2 if the command is wrong.
int run_command(MetadataStore& store, const std::vector<std::string>& words);

extern const char* const commands_help;

}  // namespace mdfs

// What the commands include and what takes longest to compile. A command still includes what it
// uses: builds without this file have to pass.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <firn/firn.hpp>

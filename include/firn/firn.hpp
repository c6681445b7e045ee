// All of Firn's public interface.
#pragma once

#include <firn/bytes.hpp>
#include <firn/check.hpp>
#include <firn/codec.hpp>
#include <firn/cursor.hpp>
#include <firn/domain.hpp>
#include <firn/executor.hpp>
#include <firn/fiber.hpp>
#include <firn/operation.hpp>
#include <firn/options.hpp>
#include <firn/ref.hpp>
#include <firn/result.hpp>
#include <firn/stats.hpp>
#include <firn/table.hpp>
#include <firn/table_type.hpp>
#include <firn/task.hpp>
#include <firn/transaction.hpp>

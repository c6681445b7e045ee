// The buffer manager's names for page ids and size classes.
#pragma once

#include "format/page_id.hpp"

namespace firn::buffer {

using PageSlot = format::PageId;
using format::page_bytes;
using format::size_class_count;
using format::smallest_page_bytes;

}  // namespace firn::buffer

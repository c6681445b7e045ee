// Marks what the library exports; everything else is hidden (-fvisibility=hidden).
#pragma once

#define FIRN_API __attribute__((visibility("default")))

# How tests are registered. Tests of tools and examples may use these functions as well.

# firn_add_label(LABEL TARGET [TAG tag] [TIMEOUT seconds]): one ctest that runs the test cases of the
# Catch2 executable TARGET that carry [tag] (by default [LABEL]); without any such case it fails.
function(firn_add_label label target)
  cmake_parse_arguments(ARG "" "TAG;TIMEOUT" "" ${ARGN})
  if(NOT ARG_TAG)
    set(ARG_TAG ${label})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  # Version 3 of Catch2 fails by itself when nothing matches and no longer knows the option.
  if(Catch2_VERSION VERSION_LESS 3)
    set(no_tests -w NoTests)
  endif()
  add_test(NAME ${label} COMMAND ${target} "[${ARG_TAG}]" ${no_tests})
  set_tests_properties(${label} PROPERTIES LABELS ${label} TIMEOUT ${ARG_TIMEOUT})
  set_property(GLOBAL APPEND PROPERTY FIRN_TAGS_OF_${target} ${ARG_TAG})
endfunction()

# firn_add_label_without_io_uring(LABEL TARGET TAG...): the test cases of TARGET that carry one of the
# tags once more, where the kernel refuses io_uring, as the ctest LABEL-refused of the same label.
function(firn_add_label_without_io_uring label target)
  list(TRANSFORM ARGN REPLACE "(.+)" "[\\1]")
  list(JOIN ARGN "," tags)
  add_test(NAME ${label}-refused
    COMMAND $<TARGET_FILE:without_io_uring> $<TARGET_FILE:${target}> ${tags})
  set_tests_properties(${label}-refused PROPERTIES
    LABELS ${label} TIMEOUT 240 SKIP_RETURN_CODE 77)
endfunction()

# firn_add_test_program(NAME SOURCES file... [LABELS label...] [LIBRARIES lib...] [ARGUMENTS arg...]
# [TIMEOUT seconds]): an executable with its own main, run as the ctest NAME. It exits with 77 when
# this machine cannot run it; tests/may_skip.txt has to allow that.
function(firn_add_test_program name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LABELS;LIBRARIES;ARGUMENTS" ${ARGN})
  if(NOT ARG_LABELS)
    set(ARG_LABELS ${name})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set(target test_${name})
  add_executable(${target} ${ARG_SOURCES})
  firn_link_layers(${target})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  target_link_libraries(${target} PRIVATE ${ARG_LIBRARIES})
  add_test(NAME ${name} COMMAND ${target} ${ARG_ARGUMENTS})
  set_tests_properties(${name} PROPERTIES
    LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT} SKIP_RETURN_CODE 77)
endfunction()

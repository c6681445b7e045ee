# Build settings of every target of this project, as one interface target: nothing is set globally, so
# that add_subdirectory(firn) leaves the surrounding project alone.
add_library(firn_settings INTERFACE)
target_compile_features(firn_settings INTERFACE cxx_std_20)
target_include_directories(firn_settings INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib)
# The prefix map keeps this machine's paths out of the texts of assertions.
target_compile_options(firn_settings INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual
  -Woverloaded-virtual -fno-omit-frame-pointer -fstack-protector-strong
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=)
if(FIRN_WERROR)
  target_compile_options(firn_settings INTERFACE -Werror)
endif()
target_compile_definitions(firn_settings INTERFACE $<$<CONFIG:Debug>:FIRN_DEBUG>)
if(FIRN_SHARED_READS)
  target_compile_definitions(firn_settings INTERFACE FIRN_SHARED_READS)
endif()
if(FIRN_SANITIZE STREQUAL "address")
  set(firn_sanitize_options -fsanitize=address,undefined)
  target_compile_options(firn_settings INTERFACE -fno-sanitize-recover=all)
elseif(FIRN_SANITIZE STREQUAL "thread")
  set(firn_sanitize_options -fsanitize=thread)
elseif(FIRN_SANITIZE)
  message(FATAL_ERROR "FIRN_SANITIZE is '${FIRN_SANITIZE}'; use 'address' or 'thread'")
endif()
if(FIRN_SANITIZE)
  target_compile_definitions(firn_settings INTERFACE FIRN_DEBUG)
  # g++ 12 sees uninitialised variables in its own <functional> once the code is instrumented.
  target_compile_options(firn_settings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_compile_options(firn_settings INTERFACE ${firn_sanitize_options})
  target_link_options(firn_settings INTERFACE ${firn_sanitize_options})
else()
  target_compile_options(firn_settings INTERFACE
    $<$<CONFIG:Release,RelWithDebInfo>:-U_FORTIFY_SOURCE> $<$<CONFIG:Release,RelWithDebInfo>:-D_FORTIFY_SOURCE=2>)
endif()

# firn_build_quickly(TARGET [header...]): in builds that are tested and never timed (FIRN_QUICK_BUILD),
# several sources at once, with headers precompiled. Each source still includes what it uses: with
# clang++, and in all other builds, the layers of the library itself are compiled one by one.
function(firn_build_quickly target)
  if(FIRN_QUICK_BUILD)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 8)
    # g++ takes unnamed namespaces of what is not the main file for those of a header; to clang++
    # names of the file before are shadowed.
    target_compile_options(${target} PRIVATE
      $<IF:$<CXX_COMPILER_ID:GNU>,-Wno-subobject-linkage,-Wno-shadow>)
    if(ARGN)
      target_precompile_headers(${target} PRIVATE ${ARGN})
    endif()
  endif()
endfunction()

# The sources of one layer as an object library.
function(firn_add_layer_objects target)
  add_library(${target} OBJECT ${ARGN})
  target_link_libraries(${target} PUBLIC firn_settings PRIVATE ${firn_private_libraries})
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    CXX_EXTENSIONS OFF)
endfunction()

# firn_add_layer(NAME): lib/NAME as the object library firn_NAME, and once more with the planted bugs
# as firn_NAME_planted, which only tests link.
function(firn_add_layer name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/lib/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  firn_add_layer_objects(firn_${name} ${sources})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    firn_build_quickly(firn_${name})
  endif()
  set_property(GLOBAL APPEND PROPERTY FIRN_LAYERS firn_${name})
  if(FIRN_PLANTED)
    firn_add_layer_objects(firn_${name}_planted ${sources})
    target_compile_definitions(firn_${name}_planted PUBLIC FIRN_PLANTED_BUGS)
    set_target_properties(firn_${name}_planted PROPERTIES EXCLUDE_FROM_ALL ON)
    firn_build_quickly(firn_${name}_planted)
  endif()
endfunction()

# firn_link_layers(TARGET): links the layers themselves, hidden symbols included, instead of the
# library: for tests and benchmarks of private parts. With FIRN_PLANTED the planted bugs are in.
function(firn_link_layers target)
  get_property(layers GLOBAL PROPERTY FIRN_LAYERS)
  foreach(layer IN LISTS layers)
    if(FIRN_PLANTED)
      set(layer ${layer}_planted)
    endif()
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${layer}>)
  endforeach()
  if(FIRN_PLANTED)
    target_compile_definitions(${target} PRIVATE FIRN_PLANTED_BUGS)
  endif()
  target_link_libraries(${target} PRIVATE firn_settings ${firn_private_libraries})
endfunction()

# What libfirn links and its users need not know, unless they link it statically.
set(firn_private_libraries uring::uring Boost::context fmt::fmt Threads::Threads)

# Build settings of every target of this project, as one interface target: nothing is set globally, so
# that add_subdirectory(firn) leaves the surrounding project alone.
add_library(firn_settings INTERFACE)
target_compile_features(firn_settings INTERFACE cxx_std_20)
target_include_directories(firn_settings INTERFACE ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/lib)
target_compile_options(firn_settings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Wcast-qual
  -Woverloaded-virtual -fno-omit-frame-pointer -fstack-protector-strong
  $<$<CONFIG:Release,RelWithDebInfo>:-D_FORTIFY_SOURCE=2>)
if(FIRN_WERROR)
  target_compile_options(firn_settings INTERFACE -Werror)
endif()
target_compile_definitions(firn_settings INTERFACE $<$<CONFIG:Debug>:FIRN_DEBUG>)
if(FIRN_SHARED_READS)
  target_compile_definitions(firn_settings INTERFACE FIRN_SHARED_READS)
endif()
if(FIRN_SANITIZE STREQUAL "address")
  target_compile_definitions(firn_settings INTERFACE FIRN_DEBUG)
  target_compile_options(firn_settings INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all)
  target_link_options(firn_settings INTERFACE -fsanitize=address,undefined)
elseif(FIRN_SANITIZE STREQUAL "thread")
  target_compile_definitions(firn_settings INTERFACE FIRN_DEBUG)
  target_compile_options(firn_settings INTERFACE -fsanitize=thread)
  target_link_options(firn_settings INTERFACE -fsanitize=thread)
elseif(FIRN_SANITIZE)
  message(FATAL_ERROR "FIRN_SANITIZE is '${FIRN_SANITIZE}'; use 'address' or 'thread'")
endif()

# firn_add_layer(NAME [LIBRARIES ...]): the sources of lib/NAME as an object library firn_NAME.
function(firn_add_layer name)
  cmake_parse_arguments(ARG "" "" "LIBRARIES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/lib/${name}/*.cpp)
  if(NOT sources)
    return()
  endif()
  add_library(firn_${name} OBJECT ${sources})
  target_link_libraries(firn_${name} PUBLIC firn_settings PRIVATE ${ARG_LIBRARIES})
  set_target_properties(firn_${name} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    CXX_EXTENSIONS OFF)
  set_property(GLOBAL APPEND PROPERTY FIRN_LAYERS firn_${name})
endfunction()

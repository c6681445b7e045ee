# Installs the library, its headers, the CMake package and the pkg-config file.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(firn_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/firn)
install(TARGETS firn EXPORT firnTargets FILE_SET HEADERS)
install(EXPORT firnTargets NAMESPACE firn:: DESTINATION ${firn_package_dir})

if(BUILD_SHARED_LIBS)
  set(firn_is_static OFF)
else()
  set(firn_is_static ON)
  install(FILES ${PROJECT_SOURCE_DIR}/cmake/Finduring.cmake DESTINATION ${firn_package_dir})
endif()
configure_package_config_file(
  ${PROJECT_SOURCE_DIR}/cmake/firnConfig.cmake.in ${PROJECT_BINARY_DIR}/firnConfig.cmake
  INSTALL_DESTINATION ${firn_package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/firnConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/firnConfig.cmake ${PROJECT_BINARY_DIR}/firnConfigVersion.cmake
        DESTINATION ${firn_package_dir})

# A shared libfirn brings its libraries along; only a static one has to name them.
set(firn_pc_requires "")
set(firn_pc_libs "")
if(firn_is_static)
  set(firn_pc_requires "liburing, fmt")
  set(firn_pc_libs "-lboost_context -pthread -lstdc++")
endif()
file(RELATIVE_PATH firn_pc_prefix
     ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/firn.pc.in ${PROJECT_BINARY_DIR}/firn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/firn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

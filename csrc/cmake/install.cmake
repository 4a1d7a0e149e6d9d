# The installed package may be moved: nothing in it holds an absolute path.
include(CMakePackageConfigHelpers)

install(TARGETS edgekit edgekit_static EXPORT edgekit
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET ekrun)
  install(TARGETS ekrun RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES include/edgekit.h include/edgekit.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ../LICENSE THIRD_PARTY.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/edgekit)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/edgekit)
install(EXPORT edgekit NAMESPACE edgekit:: FILE edgekit-targets.cmake DESTINATION ${package})
configure_package_config_file(cmake/edgekit-config.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/edgekit-config.cmake
  INSTALL_DESTINATION ${package})
# Before 1.0 a minor version may break.
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/edgekit-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgekit-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/edgekit-config-version.cmake
  DESTINATION ${package})

file(RELATIVE_PATH up /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/edgekit.pc.in edgekit.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgekit.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

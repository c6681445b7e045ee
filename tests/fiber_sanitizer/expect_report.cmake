# Runs PROGRAM MODE and fails unless it reports REPORT (a regular expression) and exits non-zero; with
# an empty REPORT, unless it exits with 0 and writes nothing. LAUNCHER: what to run it through, or "".
execute_process(COMMAND ${LAUNCHER} ${PROGRAM} ${MODE}
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(REPORT STREQUAL "")
  if(NOT status EQUAL 0 OR NOT output STREQUAL "")
    message(FATAL_ERROR "${MODE}: expected silence and 0, got ${status}:\n${output}")
  endif()
elseif(status EQUAL 0 OR NOT output MATCHES "${REPORT}")
  message(FATAL_ERROR "${MODE}: expected '${REPORT}' and a non-zero exit, got ${status}:\n${output}")
endif()

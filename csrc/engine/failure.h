// Why a model cannot be loaded, on its way to the border of the C API. Nothing throws once a context exists.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "../include/edgekit.h"

namespace edgekit {

struct failure : std::exception {
  failure(ek_status status, std::string message) : status(status), message(std::move(message)) {}
  const char* what() const noexcept override { return message.c_str(); }

  ek_status status;
  std::string message;
};

inline void demand(bool condition, const std::string& message) {
  if (!condition) throw failure(EK_BAD_FILE, message);
}

}  // namespace edgekit

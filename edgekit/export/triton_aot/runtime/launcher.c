#include "launcher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_WITHOUT_ASKING 49152u /* bytes; a block that wants more has to ask */
#define LONGEST_PATH 4096

static edgekit_result done(void) {
  edgekit_result result = {EDGEKIT_DONE, CUDA_SUCCESS, ""};
  return result;
}

static edgekit_result failed(edgekit_outcome outcome, const char* what) {
  edgekit_result result = {outcome, CUDA_SUCCESS, what};
  return result;
}

static edgekit_result of_driver(CUresult code, const char* what) {
  edgekit_result result = {code == CUDA_SUCCESS ? EDGEKIT_DONE : EDGEKIT_DRIVER, code, what};
  return result;
}

/* The bytes of a file with a zero behind them, as the driver wants PTX; NULL if it cannot be read. */
static char* read_all(FILE* file) {
  long size = 0;
  char* bytes = NULL;
  if (fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) != 0) return NULL;
  bytes = (char*)malloc((size_t)size + 1);
  if (bytes == NULL) return NULL;
  if (fread(bytes, 1, (size_t)size, file) != (size_t)size) {
    free(bytes);
    return NULL;
  }
  bytes[size] = '\0';
  return bytes;
}

static edgekit_result load_file(const char* directory, const char* name, const char* suffix, CUmodule* module) {
  char path[LONGEST_PATH];
  FILE* file = NULL;
  char* image = NULL;
  CUresult code = CUDA_SUCCESS;
  int length = snprintf(path, sizeof path, "%s/%s.%s", directory, name, suffix);
  if (length < 0 || (size_t)length >= sizeof path) return failed(EDGEKIT_NO_FILE, name);
  file = fopen(path, "rb");
  if (file == NULL) return failed(EDGEKIT_NO_FILE, name);
  image = read_all(file);
  fclose(file);
  if (image == NULL) return failed(EDGEKIT_NO_MEMORY, name);
  code = cuModuleLoadData(module, image);
  free(image);
  return of_driver(code, name);
}

static edgekit_result load_kernel(edgekit_loaded* loaded, unsigned number, const char* directory) {
  const edgekit_kernel* kernel = loaded->call->kernels[number];
  CUmodule module = NULL;
  edgekit_result result = load_file(directory, kernel->file, "cubin", &module);
  loaded->loaded_from[number] = "cubin";
  if (result.outcome != EDGEKIT_DONE) { /* none, or for another architecture or driver */
    result = load_file(directory, kernel->file, "ptx", &module);
    loaded->loaded_from[number] = "ptx";
  }
  if (result.outcome != EDGEKIT_DONE) return result;
  loaded->modules[number] = module;
  result = of_driver(cuModuleGetFunction(&loaded->functions[number], module, kernel->symbol), kernel->symbol);
  if (result.outcome != EDGEKIT_DONE || kernel->shared <= SHARED_WITHOUT_ASKING) return result;
  return of_driver(cuFuncSetAttribute(loaded->functions[number], CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      (int)kernel->shared),
                   "cuFuncSetAttribute");
}

edgekit_result edgekit_load(const edgekit_call* call, const char* directory, edgekit_loaded* loaded) {
  edgekit_result result = done();
  unsigned number = 0;
  memset(loaded, 0, sizeof *loaded);
  loaded->call = call;
  if (call->kernel_count > EDGEKIT_MOST_KERNELS) return failed(EDGEKIT_TOO_MANY, call->name);
  for (number = 0; number < call->kernel_count && result.outcome == EDGEKIT_DONE; ++number)
    result = load_kernel(loaded, number, directory);
  return result;
}

typedef union value {
  CUdeviceptr pointer;
  int32_t int32;
  int64_t int64;
  float float32;
} value;

static edgekit_result fill(const edgekit_argument* argument, const CUdeviceptr* buffers, value* into) {
  switch (argument->type) {
    case EDGEKIT_POINTER:
      into->pointer = buffers[argument->buffer] + argument->offset;
      if (into->pointer % argument->aligned != 0) return failed(EDGEKIT_MISALIGNED, argument->name);
      break;
    case EDGEKIT_INT32:
      into->int32 = (int32_t)argument->integer;
      break;
    case EDGEKIT_INT64:
      into->int64 = argument->integer;
      break;
    case EDGEKIT_FLOAT32:
      into->float32 = argument->number;
      break;
    case EDGEKIT_NULL:
      into->pointer = 0;
      break;
  }
  return done();
}

static edgekit_result launch_one(const edgekit_loaded* loaded, const edgekit_launch_step* step,
                                 const CUdeviceptr* buffers, CUstream stream) {
  value values[EDGEKIT_MOST_ARGUMENTS];
  void* parameters[EDGEKIT_MOST_ARGUMENTS];
  const edgekit_kernel* kernel = loaded->call->kernels[step->kernel];
  unsigned number = 0;
  if (step->argument_count > EDGEKIT_MOST_ARGUMENTS) return failed(EDGEKIT_TOO_MANY, kernel->file);
  for (number = 0; number < step->argument_count; ++number) {
    edgekit_result result = fill(&step->arguments[number], buffers, &values[number]);
    if (result.outcome != EDGEKIT_DONE) return result;
    parameters[number] = &values[number];
  }
  return of_driver(cuLaunchKernel(loaded->functions[step->kernel], step->grid[0], step->grid[1], step->grid[2],
                                  kernel->threads, 1, 1, kernel->shared, stream, parameters, NULL),
                   kernel->file);
}

edgekit_result edgekit_launch(const edgekit_loaded* loaded, const CUdeviceptr* buffers, CUstream stream) {
  edgekit_result result = done();
  unsigned number = 0;
  for (number = 0; number < loaded->call->launch_count && result.outcome == EDGEKIT_DONE; ++number)
    result = launch_one(loaded, &loaded->call->launches[number], buffers, stream);
  return result;
}

edgekit_result edgekit_unload(edgekit_loaded* loaded) {
  edgekit_result result = done();
  unsigned number = 0;
  for (number = 0; number < EDGEKIT_MOST_KERNELS; ++number) {
    if (loaded->modules[number] == NULL) continue;
    result = of_driver(cuModuleUnload(loaded->modules[number]), "cuModuleUnload");
    loaded->modules[number] = NULL;
  }
  return result;
}

static const char* outcome_text(edgekit_outcome outcome) {
  switch (outcome) {
    case EDGEKIT_DONE:
      return "done";
    case EDGEKIT_NO_FILE:
      return "there is no file of this kernel in the directory, or its path is too long";
    case EDGEKIT_NO_MEMORY:
      return "the file cannot be read into memory";
    case EDGEKIT_MISALIGNED:
      return "the address is not a multiple of what the kernel was compiled for; cuMemAlloc gives one that is";
    case EDGEKIT_TOO_MANY:
      return "kernels.c and launcher.h are not of one export";
    case EDGEKIT_DRIVER:
      return "the driver refused";
  }
  return "unknown outcome";
}

void edgekit_message(edgekit_result result, char* text, size_t bytes) {
  const char* driver = NULL;
  if (result.outcome != EDGEKIT_DRIVER || cuGetErrorString(result.driver, &driver) != CUDA_SUCCESS || driver == NULL)
    driver = outcome_text(result.outcome);
  snprintf(text, bytes, "%s: %s", result.what, driver);
}

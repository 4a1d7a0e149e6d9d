/* A recording double of the CUDA driver: takes every call of the launcher and the timing program, writes down launches
 * with the values of their parameters, and runs nothing.
 *
 * DRIVER_RECORD names the file to append to. A module made of PTX knows the types of its parameters by its own list, so
 * a launch that passes too few is seen reading past the end under a sanitizer. Machine code is refused, as a driver
 * refuses that of another architecture. DRIVER_FAILS names a function that fails; DRIVER_SKEW is added to every
 * address. */
#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

struct CUmod_st {
  char types[MOST]; /* p pointer, i int32, l int64, f float32 */
  int count;
};

struct CUfunc_st {
  struct CUmod_st* module;
  char name[128];
};

static unsigned long long next_address = 1 << 20;

static void record(const char* line) {
  const char* path = getenv("DRIVER_RECORD");
  FILE* file = path ? fopen(path, "a") : NULL;
  if (file == NULL) return;
  fputs(line, file);
  fputs("\n", file);
  fclose(file);
}

static CUresult answer(const char* function) {
  const char* fails = getenv("DRIVER_FAILS");
  return fails && strcmp(fails, function) == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char** text) {
  *text = error == CUDA_ERROR_INVALID_VALUE ? "invalid argument" : "some other error";
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuInit(unsigned flags) {
  (void)flags;
  return answer("cuInit");
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  *version = 12060;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return answer("cuDeviceGet");
}

CUresult CUDAAPI cuDeviceGetName(char* name, int bytes, CUdevice device) {
  (void)device;
  snprintf(name, (size_t)bytes, "a \"double\" of a device");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  (void)device;
  *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 8 : 7;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  (void)device;
  *context = NULL;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice device) {
  (void)device;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
  (void)context;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned flags) {
  (void)flags;
  *stream = (CUstream)malloc(1);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamDestroy(CUstream stream) {
  free(stream);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventCreate(CUevent* event, unsigned flags) {
  (void)flags;
  *event = (CUevent)malloc(1);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventDestroy(CUevent event) {
  free(event);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) {
  (void)event, (void)stream;
  return answer("cuEventRecord");
}

CUresult CUDAAPI cuEventSynchronize(CUevent event) {
  (void)event;
  return CUDA_SUCCESS;
}

/* A millisecond, then two, ...: the median of an odd number of samples is known. */
CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent start, CUevent stop) {
  static int call = 0;
  (void)start, (void)stop;
  *milliseconds = (float)++call;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemAlloc(CUdeviceptr* address, size_t bytes) {
  const char* skew = getenv("DRIVER_SKEW");
  *address = next_address + (skew ? strtoull(skew, NULL, 10) : 0);
  next_address += (bytes + 511) / 256 * 256;
  return answer("cuMemAlloc");
}

CUresult CUDAAPI cuMemFree(CUdeviceptr address) {
  (void)address;
  record("{\"do\": \"free\"}");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemsetD8(CUdeviceptr address, unsigned char value, size_t bytes) {
  char line[128];
  snprintf(line, sizeof line, "{\"do\": \"fill\", \"address\": %llu, \"byte\": %u, \"bytes\": %zu}", address, value,
           bytes);
  record(line);
  return CUDA_SUCCESS;
}

/* The types of the parameters of the one entry of a module. */
static void read_parameters(const char* text, struct CUmod_st* module) {
  const char* end = NULL;
  text = strstr(text, ".entry");
  end = text ? strchr(text, ')') : NULL;
  while (text && (text = strstr(text, ".param .")) != NULL && text < end) {
    text += strlen(".param .");
    module->types[module->count++] = strncmp(text, "u64 .ptr", 8) == 0 ? 'p'
                                     : strncmp(text, "u64", 3) == 0    ? 'l'
                                     : strncmp(text, "u32", 3) == 0    ? 'i'
                                     : strncmp(text, "f32", 3) == 0    ? 'f'
                                                                       : '?';
  }
}

CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
  if (memcmp(image, "\177ELF", 4) == 0) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  if (answer("cuModuleLoadData") != CUDA_SUCCESS) return CUDA_ERROR_INVALID_VALUE;
  *module = (CUmodule)calloc(1, sizeof **module);
  read_parameters((const char*)image, *module);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleUnload(CUmodule module) {
  record("{\"do\": \"unload\"}");
  free(module);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  static struct CUfunc_st functions[MOST];
  static int count = 0;
  *function = &functions[count++ % MOST];
  (*function)->module = module;
  snprintf((*function)->name, sizeof(*function)->name, "%s", name);
  return answer("cuModuleGetFunction");
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  char line[256];
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
  snprintf(line, sizeof line, "{\"do\": \"allow\", \"symbol\": \"%s\", \"shared\": %d}", function->name, value);
  record(line);
  return CUDA_SUCCESS;
}

static int print_value(char* into, size_t bytes, char type, const void* value) {
  if (type == 'p') return snprintf(into, bytes, "[\"pointer\", %llu]", *(const CUdeviceptr*)value);
  if (type == 'l') return snprintf(into, bytes, "[\"int64\", %lld]", *(const long long*)value);
  if (type == 'i') return snprintf(into, bytes, "[\"int32\", %d]", *(const int*)value);
  if (type == 'f') return snprintf(into, bytes, "[\"float32\", %.9g]", *(const float*)value);
  return snprintf(into, bytes, "[\"unknown\", 0]");
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared, CUstream stream,
                                void** parameters, void** extra) {
  char line[8192];
  int number = 0, length = 0;
  (void)stream;
  if (extra != NULL) return CUDA_ERROR_INVALID_VALUE;
  length = snprintf(line, sizeof line,
                    "{\"do\": \"launch\", \"symbol\": \"%s\", \"grid\": [%u, %u, %u], \"block\": [%u, %u, %u], "
                    "\"shared\": %u, \"parameters\": [",
                    function->name, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared);
  for (; number < function->module->count; ++number) {
    if (number) length += snprintf(line + length, sizeof line - (size_t)length, ", ");
    length +=
        print_value(line + length, sizeof line - (size_t)length, function->module->types[number], parameters[number]);
  }
  snprintf(line + length, sizeof line - (size_t)length, "]}");
  record(line);
  return answer("cuLaunchKernel");
}

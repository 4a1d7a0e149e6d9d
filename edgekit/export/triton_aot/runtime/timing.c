/* timing.c: measure the calls of this directory on the device it runs on, and print one JSON document.
 *
 *   ./timing [--directory DIR] [--warmup N] [--samples N] [--repeat N] [CALL...]
 *
 * A sample is the time between two events on the device around --repeat launches, divided by it: what a call costs back
 * to back, inputs in cache, not what a single one costs from the host. Memory is filled with one byte; times of kernels
 * that branch on values may differ from those on real data. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "launcher.h"

#define MOST_BUFFERS 64
#define FLOAT_BYTE 0x3c /* four of them are the float 0.0115 */

typedef struct options {
  const char* directory;
  unsigned warmup, samples, repeat;
} options;

typedef struct setting {
  CUstream stream;
  CUevent start, stop;
} setting;

static int complain(edgekit_result result) {
  char text[256];
  edgekit_message(result, text, sizeof text);
  fprintf(stderr, "timing: %s\n", text);
  return 1;
}

static int driver(CUresult code, const char* what) {
  edgekit_result result = {EDGEKIT_DRIVER, code, what};
  return code == CUDA_SUCCESS ? 0 : complain(result);
}

static int by_size(const void* a, const void* b) {
  float x = *(const float*)a, y = *(const float*)b;
  return (x > y) - (x < y);
}

static int one_sample(const edgekit_loaded* loaded, const CUdeviceptr* buffers, const setting* on, unsigned repeat,
                      float* microseconds) {
  float milliseconds = 0;
  unsigned number = 0;
  if (driver(cuEventRecord(on->start, on->stream), "cuEventRecord")) return 1;
  for (number = 0; number < repeat; ++number) {
    edgekit_result result = edgekit_launch(loaded, buffers, on->stream);
    if (result.outcome != EDGEKIT_DONE) return complain(result);
  }
  if (driver(cuEventRecord(on->stop, on->stream), "cuEventRecord")) return 1;
  if (driver(cuEventSynchronize(on->stop), "cuEventSynchronize")) return 1;
  if (driver(cuEventElapsedTime(&milliseconds, on->start, on->stop), "cuEventElapsedTime")) return 1;
  *microseconds = milliseconds * 1000 / (float)repeat;
  return 0;
}

/* Integers wider than a byte become 0, so that none is an index out of range. */
static int allocate(const edgekit_call* call, CUdeviceptr* buffers) {
  unsigned number = 0;
  for (number = 0; number < call->buffer_count; ++number) {
    const edgekit_buffer* buffer = &call->buffers[number];
    int wide = strncmp(buffer->type, "int", 3) == 0 && strcmp(buffer->type, "int8") != 0;
    size_t bytes = buffer->bytes ? buffer->bytes : 1;
    if (driver(cuMemAlloc(&buffers[number], bytes), buffer->name)) return 1;
    if (driver(cuMemsetD8(buffers[number], wide ? 0 : FLOAT_BYTE, bytes), buffer->name)) return 1;
  }
  return 0;
}

static int sample_all(const edgekit_loaded* loaded, const CUdeviceptr* buffers, const setting* on,
                      const options* chosen, float* times) {
  unsigned number = 0;
  for (number = 0; number < chosen->warmup; ++number)
    if (one_sample(loaded, buffers, on, chosen->repeat, &times[0])) return 1;
  for (number = 0; number < chosen->samples; ++number)
    if (one_sample(loaded, buffers, on, chosen->repeat, &times[number])) return 1;
  qsort(times, chosen->samples, sizeof times[0], by_size);
  return 0;
}

static float quantile(const float* sorted, unsigned count, float share) {
  return sorted[(unsigned)(share * (float)(count - 1) + 0.5f)];
}

static void print_times(const edgekit_loaded* loaded, const options* chosen, const float* times) {
  unsigned number = 0;
  printf("  {\"call\": \"%s\", \"median_us\": %.3f, \"least_us\": %.3f, \"p90_us\": %.3f, \"loaded_from\": [",
         loaded->call->name, quantile(times, chosen->samples, 0.5f), times[0], quantile(times, chosen->samples, 0.9f));
  for (number = 0; number < loaded->call->kernel_count; ++number)
    printf("%s\"%s\"", number ? ", " : "", loaded->loaded_from[number]);
  printf("]}");
}

static int time_call(const edgekit_call* call, const setting* on, const options* chosen) {
  edgekit_loaded loaded;
  CUdeviceptr buffers[MOST_BUFFERS] = {0};
  float* times = (float*)malloc(chosen->samples * sizeof *times);
  edgekit_result result = edgekit_load(call, chosen->directory, &loaded);
  unsigned number = 0;
  int wrong = times == NULL || call->buffer_count > MOST_BUFFERS;
  if (result.outcome != EDGEKIT_DONE) wrong = complain(result);
  if (!wrong) wrong = allocate(call, buffers) || sample_all(&loaded, buffers, on, chosen, times);
  if (!wrong) print_times(&loaded, chosen, times);
  for (number = 0; number < call->buffer_count && number < MOST_BUFFERS; ++number)
    if (buffers[number]) wrong |= driver(cuMemFree(buffers[number]), "cuMemFree");
  free(times);
  result = edgekit_unload(&loaded);
  return result.outcome == EDGEKIT_DONE ? wrong : complain(result);
}

static int is_asked(const char* name, int count, char** names) {
  int number = 0;
  for (number = 0; number < count; ++number)
    if (strcmp(name, names[number]) == 0) return 1;
  return count == 0;
}

static int time_asked(const setting* on, const options* chosen, int count, char** names) {
  unsigned number = 0, timed = 0;
  int wrong = 0;
  printf(" \"calls\": [\n");
  for (number = 0; number < edgekit_call_count && !wrong; ++number) {
    if (!is_asked(edgekit_calls[number].name, count, names)) continue;
    if (timed++) printf(",\n");
    wrong = time_call(&edgekit_calls[number], on, chosen);
  }
  printf("\n ]\n}\n");
  if (!wrong && (count ? timed != (unsigned)count : timed == 0)) {
    fprintf(stderr, "timing: no such call; manifest.json lists them\n");
    return 2;
  }
  return wrong;
}

static int print_device(CUdevice device, const options* chosen) {
  char name[128] = "";
  int major = 0, minor = 0, version = 0;
  char* quote = NULL;
  if (driver(cuDeviceGetName(name, (int)sizeof name - 1, device), "cuDeviceGetName")) return 1;
  if (driver(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device), "major")) return 1;
  if (driver(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device), "minor")) return 1;
  if (driver(cuDriverGetVersion(&version), "cuDriverGetVersion")) return 1;
  while ((quote = strpbrk(name, "\"\\")) != NULL) *quote = ' ';
  printf("{\n \"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"compiled_for\": \"%d.%d\",\n", name, major,
         minor, EDGEKIT_CAPABILITY / 10, EDGEKIT_CAPABILITY % 10);
  printf(" \"driver_cuda\": \"%d.%d\", \"warmup\": %u, \"samples\": %u, \"repeat\": %u, \"data\": \"one byte\",\n",
         version / 1000, version % 1000 / 10, chosen->warmup, chosen->samples, chosen->repeat);
  return 0;
}

/* Number of the first argument that is not an option; -1 for an option that does not exist or has no sound value. */
static int parse(int count, char** words, options* chosen) {
  int place = 1;
  for (; place < count && strncmp(words[place], "--", 2) == 0; place += 2) {
    const char* given = place + 1 < count ? words[place + 1] : NULL;
    long number = given ? strtol(given, NULL, 10) : 0;
    if (given == NULL) return -1;
    if (strcmp(words[place], "--directory") == 0)
      chosen->directory = given;
    else if (strcmp(words[place], "--warmup") == 0 && number >= 0 && number <= 1000000)
      chosen->warmup = (unsigned)number;
    else if (strcmp(words[place], "--samples") == 0 && number > 0 && number <= 1000000)
      chosen->samples = (unsigned)number;
    else if (strcmp(words[place], "--repeat") == 0 && number > 0 && number <= 1000000)
      chosen->repeat = (unsigned)number;
    else
      return -1;
  }
  return place;
}

int main(int count, char** words) {
  options chosen = {".", 10, 100, 10};
  setting on = {NULL, NULL, NULL};
  CUdevice device = 0;
  CUcontext context = NULL;
  int wrong = 0, first = parse(count, words, &chosen);
  if (first < 0) {
    fprintf(stderr, "usage: timing [--directory DIR] [--warmup N] [--samples N] [--repeat N] [CALL...]\n");
    return 2;
  }
  if (driver(cuInit(0), "cuInit") || driver(cuDeviceGet(&device, 0), "cuDeviceGet")) return 1;
  if (driver(cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain")) return 1;
  wrong = driver(cuCtxSetCurrent(context), "cuCtxSetCurrent") || print_device(device, &chosen) ||
          driver(cuStreamCreate(&on.stream, CU_STREAM_DEFAULT), "cuStreamCreate") ||
          driver(cuEventCreate(&on.start, CU_EVENT_DEFAULT), "cuEventCreate") ||
          driver(cuEventCreate(&on.stop, CU_EVENT_DEFAULT), "cuEventCreate");
  if (!wrong) wrong = time_asked(&on, &chosen, count - first, words + first);
  if (on.stop) wrong |= driver(cuEventDestroy(on.stop), "cuEventDestroy");
  if (on.start) wrong |= driver(cuEventDestroy(on.start), "cuEventDestroy");
  if (on.stream) wrong |= driver(cuStreamDestroy(on.stream), "cuStreamDestroy");
  wrong |= driver(cuDevicePrimaryCtxRelease(device), "cuDevicePrimaryCtxRelease");
  return wrong;
}

/* launcher.h: run the kernels of this directory through the CUDA driver, from C. No Python, no global state.
 *
 *   edgekit_loaded loaded;
 *   edgekit_result result = edgekit_load(&edgekit_calls[EDGEKIT_CALL_...], "directory", &loaded);
 *   result = edgekit_launch(&loaded, buffers, stream);      one address for each buffer of the call, in its order
 *   if (result.outcome != EDGEKIT_DONE) edgekit_message(result, text, sizeof text);
 *   edgekit_unload(&loaded);
 *
 * A CUDA context is current in the calling thread. A loaded call may be launched from several threads, each on a stream
 * and with workspace of its own. The calls and their tables are in kernels.h. */
#ifndef EDGEKIT_LAUNCHER_H
#define EDGEKIT_LAUNCHER_H

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGEKIT_MOST_ARGUMENTS 64 /* of a kernel */
#define EDGEKIT_MOST_KERNELS 16   /* of a call */

typedef enum edgekit_outcome {
  EDGEKIT_DONE = 0,
  EDGEKIT_NO_FILE,    /* a file of the kernel is missing or cannot be read */
  EDGEKIT_NO_MEMORY,  /* the host has no memory for a file */
  EDGEKIT_MISALIGNED, /* an address is not a multiple of what the kernel was compiled for */
  EDGEKIT_TOO_MANY,   /* a table holds more than this launcher takes */
  EDGEKIT_DRIVER      /* the driver refused: see `driver` */
} edgekit_outcome;

typedef struct edgekit_result {
  edgekit_outcome outcome;
  CUresult driver;  /* of EDGEKIT_DRIVER */
  const char* what; /* the function, file or argument that it was about */
} edgekit_result;

typedef enum edgekit_role { EDGEKIT_INPUT, EDGEKIT_OUTPUT, EDGEKIT_WORKSPACE } edgekit_role;

/* Memory of the device that the caller hands over. Workspace lasts from one launch of a call to the next. */
typedef struct edgekit_buffer {
  const char* name;
  const char* type; /* int8, int32, float32, ... */
  edgekit_role role;
  size_t bytes;
} edgekit_buffer;

typedef enum edgekit_type { EDGEKIT_POINTER, EDGEKIT_INT32, EDGEKIT_INT64, EDGEKIT_FLOAT32, EDGEKIT_NULL } edgekit_type;

typedef struct edgekit_argument {
  const char* name;
  edgekit_type type; /* EDGEKIT_NULL: scratch memory that the kernel does not use */
  unsigned buffer;   /* of a pointer: number of the buffer */
  size_t offset;     /* of a pointer: bytes from the start of the buffer */
  unsigned aligned;  /* of a pointer: what the address is a multiple of */
  int64_t integer;   /* value of an integer; part of what was compiled */
  float number;      /* value of a float */
} edgekit_argument;

typedef struct edgekit_kernel {
  const char* file; /* without .cubin or .ptx */
  const char* symbol;
  unsigned threads; /* of a block */
  unsigned shared;  /* bytes of dynamic shared memory of a block */
} edgekit_kernel;

typedef struct edgekit_launch_step {
  unsigned kernel; /* number of the kernel in the call */
  unsigned grid[3];
  unsigned argument_count;
  const edgekit_argument* arguments;
} edgekit_launch_step;

typedef struct edgekit_call {
  const char* name;
  unsigned buffer_count, kernel_count, launch_count;
  const edgekit_buffer* buffers;
  const edgekit_kernel* const* kernels;
  const edgekit_launch_step* launches;
} edgekit_call;

typedef struct edgekit_loaded {
  const edgekit_call* call;
  CUmodule modules[EDGEKIT_MOST_KERNELS];
  CUfunction functions[EDGEKIT_MOST_KERNELS];
  const char* loaded_from[EDGEKIT_MOST_KERNELS]; /* "cubin" or "ptx" */
} edgekit_loaded;

/* Loads every kernel of a call from its files: machine code where there is some and the driver takes it, else PTX. */
edgekit_result edgekit_load(const edgekit_call* call, const char* directory, edgekit_loaded* loaded);

/* Launches a loaded call; returns when it is on the stream. */
edgekit_result edgekit_launch(const edgekit_loaded* loaded, const CUdeviceptr* buffers, CUstream stream);

/* Unloads what edgekit_load loaded, also after it failed half-way. */
edgekit_result edgekit_unload(edgekit_loaded* loaded);

/* Writes what happened as a sentence, cut to fit. */
void edgekit_message(edgekit_result result, char* text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif

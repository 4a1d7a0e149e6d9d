/* edgekit.h: run a plan (.ekm) from C. No dependency, no global state, no exception, no allocation in ek_run.
 *
 *   ek_model* model; ek_context* context; ek_error error;
 *   if (ek_model_open("net.ekm", NULL, &model, &error)) { puts(error.message); return 1; }
 *   if (ek_context_create(model, NULL, &context, &error)) ...
 *   ek_run(context, inputs, outputs, &error);
 *
 * A model is read-only and may be shared by threads; a context runs one call at a time. Every function that can fail
 * returns ek_status and, where `error` is not NULL, says what, why and what to do in it.
 */
#ifndef EDGEKIT_H
#define EDGEKIT_H

#include <stddef.h>
#include <stdint.h>

#if defined(EDGEKIT_BUILD)
#define EK_API __attribute__((visibility("default")))
#else
#define EK_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define EK_ABI_VERSION 1 /* changes where a struct or a meaning below does; also the soname */

typedef enum ek_status {
  EK_OK = 0,
  EK_BAD_ARGUMENT = 1, /* a null pointer, an index, a misaligned buffer, an option */
  EK_BAD_FILE = 2,     /* not a plan, or a damaged one */
  EK_UNSUPPORTED = 3,  /* a newer format, an unknown operation, an instruction set this machine lacks */
  EK_NO_MEMORY = 4,
  EK_IO = 5,
  EK_BAD_INPUT = 6 /* a value that the model cannot take: an index outside a table */
} ek_status;

typedef struct ek_error {
  ek_status status;
  char message[508]; /* 0-terminated */
} ek_error;

typedef enum ek_type { EK_S8 = 0, EK_U8 = 1, EK_S16 = 2, EK_S32 = 3, EK_S64 = 4, EK_F32 = 5, EK_BOOL = 6 } ek_type;

#define EK_MAX_DIMS 8

/* An input or output: dense, in C order. */
typedef struct ek_tensor_info {
  const char* name; /* lives as long as the model */
  ek_type type;
  uint32_t dims;
  int64_t size[EK_MAX_DIMS];
  size_t bytes;
  float scale; /* of s8: real = scale * q; 0 otherwise */
} ek_tensor_info;

/* Hooks; a NULL function means the default (aligned_alloc and free; silence). The allocator gives what grows with the
 * model: packed weights, arena, state, scratch. Notes on each operation come from operator new, when a model is opened
 * or a context made. Alignment is a power of two, at most 4096. */
typedef struct ek_allocator {
  void* (*allocate)(void* user, size_t bytes, size_t alignment);
  void (*release)(void* user, void* memory);
  void* user;
} ek_allocator;

/* Told when a model is opened or a context made, never by ek_run: what the model needs, every operation that runs in
 * plain loops although the library has a faster kernel for it, and why, and threads that will not be used. It and its
 * user have to live as long as the model; threads that make contexts of one model may call it at the same time. */
typedef void (*ek_log)(void* user, const char* message);

/* Set struct_size to sizeof the struct; options of an older header keep working. */
typedef struct ek_model_options {
  size_t struct_size;
  const char* isa; /* NULL: the best of this machine; or "ref", "avx2", "avx512vnni", "neondot" */
  ek_allocator allocator;
  ek_log log;
  void* log_user;
} ek_model_options;

/* The caller's pool: must call task(argument, i) for every i in 0..count-1 and return when all have returned. They
 * share the work as they come: calls that begin late, or one after the other, find less to do or nothing. */
typedef void (*ek_parallel)(void* user, unsigned count, void (*task)(void* argument, unsigned index), void* argument);

typedef struct ek_context_options {
  size_t struct_size;
  unsigned threads;     /* 0 and 1: the calling thread only; at most 32 are used */
  ek_parallel parallel; /* NULL: threads of the context's own */
  void* parallel_user;
} ek_context_options;

typedef struct ek_model ek_model;
typedef struct ek_context ek_context;

EK_API unsigned ek_abi_version(void);
EK_API const char* ek_version(void);
EK_API const char* ek_status_name(ek_status status);

EK_API ek_status ek_model_open(const char* path, const ek_model_options* options, ek_model** model, ek_error* error);
/* The memory must stay as it is until ek_model_close. */
EK_API ek_status ek_model_open_memory(const void* data, size_t bytes, const ek_model_options* options, ek_model** model,
                                      ek_error* error);
EK_API void ek_model_close(ek_model* model); /* NULL is fine; contexts first */

EK_API uint32_t ek_model_input_count(const ek_model* model);
EK_API uint32_t ek_model_output_count(const ek_model* model);
EK_API ek_status ek_model_input(const ek_model* model, uint32_t index, ek_tensor_info* info, ek_error* error);
EK_API ek_status ek_model_output(const ek_model* model, uint32_t index, ek_tensor_info* info, ek_error* error);
EK_API size_t ek_model_arena_bytes(const ek_model* model); /* of each context */
EK_API size_t ek_model_state_bytes(const ek_model* model);
EK_API size_t ek_model_weight_bytes(const ek_model* model); /* packed for this machine, beside the file */
EK_API const char* ek_model_isa(const ek_model* model);

/* One line for each operation: what it is, and which kernel runs it here and why no faster one. */
typedef struct ek_operation_info {
  const char* name;   /* of the node */
  const char* kind;   /* its word, such as conv2d_s8 */
  const char* kernel; /* its function, such as conv2d_s8_avx512vnni */
  const char* reason; /* why a faster tier was not taken; "" where none exists */
  const char* source; /* the line of the model's source that it comes from; "" where not known */
  int64_t macs;
} ek_operation_info;
EK_API uint32_t ek_model_operation_count(const ek_model* model);
EK_API ek_status ek_model_operation(const ek_model* model, uint32_t index, ek_operation_info* info, ek_error* error);

EK_API ek_status ek_context_create(const ek_model* model, const ek_context_options* options, ek_context** context,
                                   ek_error* error);
EK_API void ek_context_destroy(ek_context* context);

/* One buffer for each input and output, dense, of ek_tensor_info.bytes, aligned to its element. */
EK_API ek_status ek_run(ek_context* context, const void* const* inputs, void* const* outputs, ek_error* error);

/* The same, and the seconds of each operation in seconds[0 .. ek_model_operation_count). */
EK_API ek_status ek_run_profiled(ek_context* context, const void* const* inputs, void* const* outputs, double* seconds,
                                 ek_error* error);

/* What recurrent nets remember between runs: ek_model_state_bytes of it. Reset is how a context begins. */
EK_API void ek_state_reset(ek_context* context);
EK_API ek_status ek_state_save(const ek_context* context, void* buffer, size_t bytes, ek_error* error);
EK_API ek_status ek_state_load(ek_context* context, const void* buffer, size_t bytes, ek_error* error);

#ifdef __cplusplus
}
#endif

#endif /* EDGEKIT_H */

/* Runs a model from C: opens it, fills its inputs, runs, and prints the largest values of each output.
 *
 *   run_c MODEL.ekm [--in FILE]... [--threads N] [--self-test EXPECTED]
 *
 * --in          raw values of the next input; inputs without a file hold a fixed pattern
 * --self-test   a file of the raw bytes of all outputs, one behind the other: anything else fails
 */
#include <edgekit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PORTS = 16, SHOWN = 3 };

static void* buffer_of(const ek_tensor_info* about) {
  void* memory = calloc(about->bytes ? about->bytes : 1, 1);
  if (!memory) {
    fprintf(stderr, "no memory for '%s'\n", about->name);
    exit(7);
  }
  return memory;
}

static size_t bytes_of(ek_type type) {
  static const size_t bytes[] = {1, 1, 2, 4, 8, 4, 1};
  return bytes[type];
}

static double value_at(const ek_tensor_info* about, const void* memory, size_t i) {
  switch (about->type) {
    case EK_S8:
      return (about->scale > 0 ? about->scale : 1) * ((const int8_t*)memory)[i];
    case EK_S16:
      return ((const int16_t*)memory)[i];
    case EK_S32:
      return ((const int32_t*)memory)[i];
    case EK_S64:
      return (double)((const int64_t*)memory)[i];
    case EK_F32:
      return ((const float*)memory)[i];
    default:
      return ((const uint8_t*)memory)[i];
  }
}

/* Floats from -2 to 2, bytes of every value, and 0 or 1 for what may be an index. */
static void fill(const ek_tensor_info* about, void* memory) {
  const size_t unit = bytes_of(about->type), count = about->bytes / unit;
  for (size_t i = 0; i < count; ++i) {
    const unsigned value = (unsigned)(i * 37 + 11) % 256;
    const float real = ((float)value - 128.0f) / 64.0f;
    const int64_t index = value % 2; /* its low bytes are the same number in a smaller type */
    unsigned char* to = (unsigned char*)memory + i * unit;
    if (about->type == EK_F32) {
      memcpy(to, &real, unit);
    } else if (about->type == EK_S8 || about->type == EK_U8) {
      *to = (unsigned char)value;
    } else {
      memcpy(to, &index, unit);
    }
  }
}

static int read_bytes(FILE* file, void* memory, size_t bytes) {
  return fread(memory, 1, bytes, file) == bytes ? 0 : -1;
}

static void load(const char* path, const ek_tensor_info* about, void* memory) {
  FILE* file = fopen(path, "rb");
  if (!file || read_bytes(file, memory, about->bytes) || fgetc(file) != EOF) {
    fprintf(stderr, "'%s' does not hold the %zu bytes of input '%s'\n", path, about->bytes, about->name);
    exit(3);
  }
  fclose(file);
}

static void show(const ek_tensor_info* about, const void* memory) {
  const size_t count = about->bytes / bytes_of(about->type);
  size_t shown[SHOWN];
  printf("%s:", about->name);
  for (size_t n = 0; n < SHOWN && n < count; ++n) {
    size_t best = count;
    for (size_t i = 0; i < count; ++i) {
      int taken = 0;
      for (size_t k = 0; k < n; ++k) taken |= shown[k] == i;
      if (!taken && (best == count || value_at(about, memory, i) > value_at(about, memory, best))) best = i;
    }
    shown[n] = best;
    printf("  [%zu] %g", best, value_at(about, memory, best));
  }
  printf("\n");
}

static int same(FILE* expected, const ek_tensor_info* about, const void* memory) {
  void* wanted = buffer_of(about);
  const int equal = !read_bytes(expected, wanted, about->bytes) && !memcmp(wanted, memory, about->bytes);
  free(wanted);
  if (!equal) fprintf(stderr, "output '%s' is not what was expected\n", about->name);
  return equal;
}

static int fail(const char* what, const ek_error* error) {
  fprintf(stderr, "%s: %s: %s\n", what, ek_status_name(error->status), error->message);
  return (int)error->status + 2;
}

int main(int count, char** words) {
  const char *path = NULL, *expected = NULL, *files[MOST_PORTS];
  unsigned given = 0;
  ek_context_options options = {sizeof options, 1, NULL, NULL};
  for (int i = 1; i < count; ++i) {
    const int more = i + 1 < count;
    if (!strcmp(words[i], "--in") && more && given < MOST_PORTS) {
      files[given++] = words[++i];
    } else if (!strcmp(words[i], "--threads") && more) {
      options.threads = (unsigned)atoi(words[++i]);
    } else if (!strcmp(words[i], "--self-test") && more) {
      expected = words[++i];
    } else if (!path && words[i][0] != '-') {
      path = words[i];
    } else {
      path = NULL;
      break;
    }
  }
  if (!path) {
    fprintf(stderr, "usage: %s MODEL.ekm [--in FILE]... [--threads N] [--self-test EXPECTED]\n", words[0]);
    return 2;
  }

  ek_model* model = NULL;
  ek_context* context = NULL;
  ek_error error;
  if (ek_model_open(path, NULL, &model, &error)) return fail(path, &error);
  if (ek_context_create(model, &options, &context, &error)) return fail(path, &error);

  const uint32_t ins = ek_model_input_count(model), outs = ek_model_output_count(model);
  ek_tensor_info in[MOST_PORTS], out[MOST_PORTS];
  void *inputs[MOST_PORTS], *outputs[MOST_PORTS];
  if (ins > MOST_PORTS || outs > MOST_PORTS || given > ins) {
    fprintf(stderr, "'%s' has %u inputs and %u outputs, which does not fit\n", path, ins, outs);
    return 2;
  }
  for (uint32_t i = 0; i < ins; ++i) {
    if (ek_model_input(model, i, &in[i], &error)) return fail(path, &error);
    inputs[i] = buffer_of(&in[i]);
    if (i < given) {
      load(files[i], &in[i], inputs[i]);
    } else {
      fill(&in[i], inputs[i]);
    }
  }
  for (uint32_t i = 0; i < outs; ++i) {
    if (ek_model_output(model, i, &out[i], &error)) return fail(path, &error);
    outputs[i] = buffer_of(&out[i]);
  }

  if (ek_run(context, (const void* const*)inputs, outputs, &error)) return fail("run", &error);

  int well = 1;
  FILE* wanted = expected ? fopen(expected, "rb") : NULL;
  if (expected && !wanted) {
    fprintf(stderr, "cannot open '%s'\n", expected);
    return 3;
  }
  for (uint32_t i = 0; i < outs; ++i) {
    show(&out[i], outputs[i]);
    if (wanted) well &= same(wanted, &out[i], outputs[i]);
  }
  if (wanted) {
    well &= fgetc(wanted) == EOF;
    fclose(wanted);
    printf("self-test on %s: %s\n", ek_model_isa(model), well ? "ok" : "FAILED");
  }

  for (uint32_t i = 0; i < ins; ++i) free(inputs[i]);
  for (uint32_t i = 0; i < outs; ++i) free(outputs[i]);
  ek_context_destroy(context);
  ek_model_close(model);
  return well ? 0 : 1;
}

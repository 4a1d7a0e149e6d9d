// A product of many windows with one matrix of weights: what convolutions and linear layers are to a fast kernel.
//
// A window is made of runs of bytes that lie together: one for each row of a kernel where its columns are neighbours in
// memory, else one for each tap. The weights are packed in blocks of features, run by run, four bytes of a run at a
// time:
//
//   packed = sums_header | for each block: bias, multiplier, [run][quad of the run][feature of the block][4]
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops.h"
#include "part.h"

namespace edgekit {

// Pixels of the result and what belongs to each: the window in x, the place in out, and the place in what is added.
struct Product {
  const std::uint8_t* x;  // first byte of the window of pixel 0, padding included
  std::uint8_t* out;
  const std::uint8_t* added;
  std::int64_t images, rows, columns;  // pixels of the result
  steps x_step, out_step, added_step;  // from one window, result or addend to the next; `channel` is not used
  std::int64_t run_rows, run_columns;  // runs of a window
  std::int64_t run_row, run_column;    // bytes from one run to the next
  std::int64_t run_bytes;
  std::int64_t features;

  std::int64_t pixels() const { return images * rows * columns; }
  std::int64_t runs() const { return run_rows * run_columns; }
  std::int64_t quads() const { return (run_bytes + 3) / 4; }    // of one run
  std::int64_t fan_in() const { return runs() * quads() * 4; }  // with what fills the last quad of a run
};

// One group of a convolution whose channels are last and whose padding lies in memory around the image.
inline Product product_of(const conv2d_s8_args& args, std::int64_t group) {
  const std::int64_t channels = args.in_channels / args.groups, features = args.out_channels / args.groups;
  const steps& x = args.x_step;
  const bool whole_rows = args.dilation.width == 1 && x.column == channels;
  Product product = {};
  product.x = reinterpret_cast<const std::uint8_t*>(args.x) + group * channels - args.padding.height * x.row -
              args.padding.width * x.column;
  product.out = reinterpret_cast<std::uint8_t*>(args.out) + group * features;
  if (args.added.x) product.added = reinterpret_cast<const std::uint8_t*>(args.added.x) + group * features;
  product.images = args.images;
  product.rows = args.out_size.height;
  product.columns = args.out_size.width;
  product.x_step = {x.image, 1, args.stride.height * x.row, args.stride.width * x.column};
  product.out_step = args.out_step;
  product.added_step = args.added.step;
  product.run_rows = args.kernel.height;
  product.run_columns = whole_rows ? 1 : args.kernel.width;
  product.run_row = args.dilation.height * x.row;
  product.run_column = args.dilation.width * x.column;
  product.run_bytes = whole_rows ? args.kernel.width * channels : channels;
  product.features = features;
  return product;
}

inline Product product_of(const linear_s8_args& args) {
  Product product = {};
  product.x = reinterpret_cast<const std::uint8_t*>(args.x);
  product.out = reinterpret_cast<std::uint8_t*>(args.out);
  product.added = reinterpret_cast<const std::uint8_t*>(args.added.x);
  product.images = product.rows = 1;
  product.columns = args.rows;
  product.x_step = {0, 1, 0, args.fan_in};
  product.out_step = {0, 1, 0, args.features};
  product.added_step = {0, 1, 0, args.added.step.row};
  product.run_rows = product.run_columns = 1;
  product.run_bytes = args.fan_in;
  product.features = args.features;
  return product;
}

// Where a pixel is and what belongs to it; goes from one to the next.
class Cursor {
 public:
  Cursor(const Product& product, std::int64_t pixel) : product_(product) {
    if (pixel != 0) {  // divisions are a good part of a small layer
      column_ = pixel % product.columns;
      row_ = pixel / product.columns % product.rows;
      image_ = pixel / (product.columns * product.rows);
    }
    place();
  }

  const std::uint8_t* x;
  std::uint8_t* out;
  const std::uint8_t* added;

  void next() { skip(1); }

  // Pixels from here to the end of the row.
  std::int64_t left() const { return product_.columns - column_; }

  // Goes on by as many, `left()` at the most.
  void skip(std::int64_t pixels) {
    column_ += pixels;
    if (column_ < product_.columns) {
      x += pixels * product_.x_step.column;
      out += pixels * product_.out_step.column;
      added += pixels * product_.added_step.column;
      return;
    }
    column_ = 0;
    if (++row_ == product_.rows) {
      row_ = 0;
      ++image_;
    }
    place();
  }

 private:
  void place() {
    const auto at = [this](const steps& step) { return image_ * step.image + row_ * step.row + column_ * step.column; };
    x = product_.x + at(product_.x_step);
    out = product_.out + at(product_.out_step);
    added = product_.added + at(product_.added_step);
  }

  const Product& product_;
  std::int64_t image_ = 0, row_ = 0, column_ = 0;
};

// Weights of one feature by run and byte of the run, as packing wants them.
struct Filters {
  const std::int8_t* weight;
  steps step;                           // `image`: from feature to feature
  std::int64_t channels, kernel_width;  // of a tap; columns of a kernel
  const std::int32_t* bias;
  const float* multiplier;
  std::uint8_t flip = 0;  // of the bytes of weight, where they are activations

  // Of feature o: byte `at` of run `run`.
  std::int8_t operator()(const Product& product, std::int64_t o, std::int64_t run, std::int64_t at) const {
    const std::int64_t row = run / product.run_columns;
    const std::int64_t column = product.run_columns == 1 ? at / channels : run % product.run_columns;
    const std::int64_t place = o * step.image + at % channels * step.channel + row * step.row + column * step.column;
    return static_cast<std::int8_t>(weight[place] ^ flip);
  }
};

inline Filters filters_of(const conv2d_s8_args& args, std::int64_t group) {
  const std::int64_t first = group * (args.out_channels / args.groups);
  return {args.weight + first * args.weight_step.image,
          args.weight_step,
          args.in_channels / args.groups,
          args.kernel.width,
          args.bias + first,
          args.multiplier + first};
}

inline Filters filters_of(const linear_s8_args& args) {
  return {args.weight, {args.fan_in, 1, 0, 0}, args.fan_in, 1, args.bias, args.multiplier};
}

// The dense product of one tier, for kernels that are made of one and are not written for a tier themselves.
struct DenseProduct {
  std::size_t (*packed_bytes)(const Product&);
  void (*pack_weights)(const Product&, const Filters&, void*);
  std::size_t (*scratch_bytes)(const Product&);
  void (*multiply)(const Product&, const void*, const bounds&, const residual&, const part&);
  std::uint8_t flip;  // its bytes of activations hold q ^ flip
};

inline std::size_t no_scratch(const Product&) {
  return 0;
}

}  // namespace edgekit

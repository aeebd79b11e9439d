// What nearly all kernels share.
//
// Every kernel follows one scheme: documents are cut into segments of a fixed number of bytes and a warp takes one
// segment, so that a book of 50 MB and ten thousand chat lines load the device alike. What the segments of a document
// give is merged by an operation that has no order (integer sum, minimum), or by a second kernel over the summaries.
#pragma once
#include "segments.cuh"
#include "unicode.cuh"
#include "warps.cuh"

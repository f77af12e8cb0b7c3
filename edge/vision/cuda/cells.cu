// From pictures and fields to the engine's input: which cells moved, and gathering them as
// N x channels x side x side in [0, 1].

// True pixels of each cell: one warp counts one cell. Twin of edge.vision.patches.Grid.count.
extern "C" __global__ void count_cells(const unsigned char *__restrict__ moved,
                                       int *__restrict__ counts, int width, int rows, int columns,
                                       int patch, int stride)
{
    const int cell = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    int count = 0;
    if (cell < rows * columns) {
        const int corner = cell / columns * stride * width + cell % columns * stride;
        for (int i = lane; i < patch * patch; i += 32)
            count += moved[corner + i / patch * width + i % patch] != 0;
    }
    for (int d = 16; d > 0; d /= 2) count += __shfl_xor_sync(0xffffffffu, count, d);
    if (cell < rows * columns && lane == 0) counts[cell] = count;
}

// Cells of a BGR picture as RGB in [0, 1], bit-equal with edge.inputs.patches. cells: row, column
// of each one; one thread writes one value.
extern "C" __global__ void gather_picture(const unsigned char *__restrict__ bgr,
                                          const int *__restrict__ cells,
                                          float *__restrict__ batch, int count, int width,
                                          int patch, int stride, float scale)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count * 3 * patch * patch) return;
    const int x = t % patch, y = t / patch % patch;
    const int channel = t / (patch * patch) % 3, n = t / (patch * patch * 3);
    const int pixel = (cells[2 * n] * stride + y) * width + cells[2 * n + 1] * stride + x;
    batch[t] = (float)bgr[3 * pixel + 2 - channel] * scale;
}

// Cells of a motion field (u, v, magnitude) mapped to [0, 1], bit-equal with
// edge.vision.dynamic_flow.to_unit_range.
extern "C" __global__ void gather_motion(const float *__restrict__ field,
                                         const int *__restrict__ cells,
                                         float *__restrict__ batch, int count, int width,
                                         int patch, int stride, float half_scale,
                                         float magnitude_scale)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count * 3 * patch * patch) return;
    const int x = t % patch, y = t / patch % patch;
    const int channel = t / (patch * patch) % 3, n = t / (patch * patch * 3);
    const int pixel = (cells[2 * n] * stride + y) * width + cells[2 * n + 1] * stride + x;
    const float value = field[3 * pixel + channel];
    const float unit = channel < 2 ? value * half_scale + 0.5f : value * magnitude_scale + 0.0f;
    batch[t] = fminf(fmaxf(unit, 0.0f), 1.0f);
}

// Windows of an object's size, bilinear in OpenCV's fixed point (positions in 1/32 px, weights in
// 1/32768), beyond the edge repeated: twin of edge.vision.windows.WindowGrid.gather, bit-equal.
// x_positions: columns x rows of the grid x side; y_positions: rows x side. Three channels leave
// as RGB.
extern "C" __global__ void gather_windows(const unsigned char *__restrict__ picture,
                                          const int *__restrict__ cells,
                                          const int *__restrict__ x_positions,
                                          const int *__restrict__ y_positions,
                                          float *__restrict__ batch, int count, int height,
                                          int width, int channels, int grid_columns, int side,
                                          float scale)
{
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    if (t >= count * channels * side * side) return;
    const int x = t % side, y = t / side % side;
    const int channel = t / (side * side) % channels, n = t / (side * side * channels);
    const int row = cells[2 * n], column = cells[2 * n + 1];
    const int px = x_positions[(row * grid_columns + column) * side + x];
    const int py = y_positions[row * side + y];
    const int left = px >> 5, top = py >> 5, share_x = px & 31, share_y = py & 31;
    const int x0 = min(max(left, 0), width - 1), x1 = min(max(left + 1, 0), width - 1);
    const unsigned char *above = picture + min(max(top, 0), height - 1) * width * channels;
    const unsigned char *below = picture + min(max(top + 1, 0), height - 1) * width * channels;
    const int c = channels - 1 - channel;
    const int sum = (32 - share_y) * ((32 - share_x) * above[x0 * channels + c]
                                      + share_x * above[x1 * channels + c])
                    + share_y * ((32 - share_x) * below[x0 * channels + c]
                                 + share_x * below[x1 * channels + c]);
    batch[t] = (float)((sum + 512) >> 10) * scale;
}

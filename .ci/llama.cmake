# llama-cpp-python forces llama.cpp's `common` library on, which we never load and which takes as
# long to compile as the rest together. A normal variable outlives that cache entry (CMP0126), so
# this file, read through CMAKE_PROJECT_llama_cpp_INCLUDE, switches it off again.
set(LLAMA_BUILD_COMMON OFF)

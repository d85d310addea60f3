package = "forger"
version = "dev-1"
rockspec_format = "3.0"

source = {
   url = "git+https://github.com/forger-ml/forger",
}

description = {
   summary = "Trains generative adversarial networks (GANs) from Lua on native C kernels",
   detailed = [[
Tensors, reverse-mode autograd, layers, optimizers, image and model files in a C core of a few megabytes, and a Lua
module with architectures, losses, training loops and plots. Runs on the CPU; the same bits for any number of threads.
`forger new DIR` copies the examples and the MNIST digits to a folder of your own.]],
   homepage = "https://github.com/forger-ml/forger",
   license = "MIT",
   labels = { "machine-learning", "neural-networks", "gan", "tensor" },
}

supported_platforms = { "unix" }

dependencies = {
   "lua >= 5.4, < 5.5",
}

external_dependencies = {
   PNG = { header = "png.h" },
   ZLIB = { header = "zlib.h" },
}

build = {
   type = "make",
   build_target = "lua",
   install_target = "install-lua",
   build_variables = {
      CC = "$(CC)",
      CFLAGS = "$(CFLAGS)",
      LIBFLAG = "$(LIBFLAG)",
      LUA = "$(LUA)",
      LUA_INCDIR = "$(LUA_INCDIR)",
      PNG_INCDIR = "$(PNG_INCDIR)",
      PNG_LIBDIR = "$(PNG_LIBDIR)",
      ZLIB_INCDIR = "$(ZLIB_INCDIR)",
      ZLIB_LIBDIR = "$(ZLIB_LIBDIR)",
   },
   install_variables = {
      BINDIR = "$(BINDIR)",
      LUADIR = "$(LUADIR)",
      INST_LIBDIR = "$(LIBDIR)",
   },
   copy_directories = { "docs", "examples" },
}

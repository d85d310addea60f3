-- What the reference says beyond lua/forger/reference.lua: fields (they are no functions), and shapes, errors and papers of
-- entries whose summary has no room for them. make_reference.lua fails for a name that does not exist.
return {
  fields = {
    { "fg.VERSION", "fg.VERSION, fg.version -> string", "Version of the library, like \"0.1.0\"." },
    { "fg.version", "fg.version -> string", "Same as fg.VERSION." },
    { "fg.json.null", "fg.json.null", "What JSON's null reads as; encode writes it as null. NaN and infinities are written as null too." },
    { "t.shape", "t.shape -> list of integers", "Sizes of all axes, a fresh table each time." },
    { "t.ndim", "t.ndim -> integer", "Number of axes, 0 to 6." },
    { "t.dtype", "t.dtype -> string", "\"f32\", \"bf16\", \"u8\" or \"i32\"." },
    { "t.grad", "t.grad -> tensor or nil", "What backward added up; may be set, t.grad = nil forgets it. Shape of t, always without history." },
    { "t.requires_grad", "t.requires_grad -> boolean",
      "Whether ops on t are recorded; may be set on leaves of dtype f32. Switching it off on the result of an op raises: use detach." },
    { "viz.colors", "viz.colors", "List of the colours of the plots' series, as \"#rrggbb\"." },
    { "gan.losses.names", "gan.losses.names", "Names of the built-in losses, in the order of the help texts." },
    { "gan.regularizers.names", "gan.regularizers.names", "Names that gan.regularizers.make takes." },
    { "metrics.judge.SEED", "metrics.judge.SEED -> 1", "Seed of the judge's training." },
    { "metrics.judge.EPOCHS", "metrics.judge.EPOCHS -> 4", "Epochs of the judge's training." },
    { "metrics.judge.BATCH", "metrics.judge.BATCH -> 128", "Pictures in a minibatch of the judge's training." },
    { "metrics.judge.LR", "metrics.judge.LR -> 0.002", "Adam's rate at the beginning of the judge's training." },
    { "net.class", "net.class -> string", "Name of the module's class." },
    { "net.training", "net.training -> boolean", "The mode: true after train(), false after eval()." },
  },
  notes = {
    ["fg.tensor"] = "Shape: that of the nested table, a number gives rank 0. Values out of the range of u8 or i32 raise.",
    ["fg.grad"] = "Second and higher orders are exact: every op's gradient is made of recorded ops. Raises when the graph was freed "
      .. "or when a value that it needs was changed in place, naming the op.",
    ["t:backward"] = "t is a scalar unless grad_output of its shape is given. A failure clears every .grad that it touched.",
    ["fg.scope"] = "Using a tensor that a scope has freed raises and names the scope.",
    ["fg.save"] = "The safetensors format. Written to a temporary name and renamed: a failure leaves an old file as it was.",
    ["fg.load"] = "F64 and F16 become f32; I8, I16, U16, U32, I64, U64 become i32 where the values fit; BOOL becomes u8. Damaged "
      .. "files give nil and a message.",
    ["fg.manual_seed"] = "The generator is Philox4x32-10 (Salmon et al. 2011), counter-based, one key and offset per named stream.",
    ["fg.cross_entropy_loss"] = "A label outside 0..K-1 raises.",
    ["t:softplus"] = "The losses of GANs are made of it: softplus(-s) = -log(sigmoid(s)).",
    ["t:batch_norm"] = "Ioffe and Szegedy 2015. The biased variance normalises, the unbiased one enters running_var, as in PyTorch.",
    ["t:matmul"] = "Raises with both shapes when they do not fit.",
    ["nn.Linear"] = "[N,in_features] -> [N,out_features]. Weights as PyTorch's: U(-k,k), k = 1/sqrt(in_features).",
    ["nn.Conv2d"] = "[N,H,W,in_channels] -> [N,OH,OW,out_channels], OH = floor((H + top + bottom - KH) / stride) + 1; with \"same\" "
      .. "OH = ceil(H / stride), TensorFlow's meaning. Sizes in pixels; kernel_size, stride: an integer or {h, w}.",
    ["nn.ConvTranspose2d"] = "[N,H,W,in_channels] -> [N,OH,OW,out_channels], OH = (H - 1) stride - top - bottom + KH + output_padding; "
      .. "with \"same\" OH = H stride. The weight [KH,KW,out,in] is that of the convolution whose adjoint this is.",
    ["nn.BatchNorm"] = "[...,num_features] -> the same. Ioffe and Szegedy 2015. Fields weight, bias, running_mean, running_var, all [C]. "
      .. "A forward pass in training mode updates the running statistics, under no_grad and when frozen too.",
    ["nn.Dropout"] = "Any shape; 0 <= p < 1; what stays is scaled by 1/(1-p). Nothing happens in evaluation mode. The mask comes from "
      .. "the stream \"dropout\".",
    ["nn.Embedding"] = "i32 [...] -> [...,embedding_dim]; N(0,1) at first. An id outside 0..num_embeddings-1 raises.",
    ["nn.Flatten"] = "Batch axis kept, D the product of the others.",
    ["nn.Reshape"] = "[N,...] -> [N,7,7,128]. Raises when the counts differ.",
    ["nn.Upsample"] = "[N,H,W,C] -> [N,factor H,factor W,C]; factor an integer or {h, w}.",
    ["nn.AvgPool2d"] = "[N,H,W,C] -> [N,OH,OW,C]; padding counts as zeros.",
    ["nn.MaxPool2d"] = "[N,H,W,C] -> [N,OH,OW,C].",
    ["nn.Sequential"] = "#seq elements, seq[i] reads one. An activation behind a linear, convolution or norm layer runs in one op with it.",
    ["nn.load"] = "A class that is unknown gives nil and \"class Block is unknown: require its file first\". Files hold data only, never code.",
    ["nn.init.dcgan"] = "Radford et al. 2016, arXiv:1511.06434.",
    ["nn.init.keras"] = "Glorot and Bengio 2010.",
    ["net:load_state_dict"] = "Raises one message that lists what is missing, unexpected or of another shape.",
    ["net:freeze"] = "Batch norm's mode is another matter: a frozen network in training mode still updates its running statistics.",
    ["optim.RMSprop"] = "Tieleman and Hinton 2012; eps is outside the root unless eps_inside.",
    ["optim.Adam"] = "Kingma and Ba 2015, arXiv:1412.6980; eps after the bias correction.",
    ["optim.AdamW"] = "Loshchilov and Hutter 2019, arXiv:1711.05101.",
    ["optim.clip_grad_norm"] = "Euclidean norm over all parameters together. A norm that is not finite scales nothing and comes with a message.",
    ["fg.image.resize"] = "The integer arithmetic of Pillow's Image.resize(BILINEAR).",
    ["fg.idx"] = "The format of MNIST (LeCun, Cortes and Burges). The size that the header declares is checked against the file "
      .. "before anything is allocated.",
  },
}

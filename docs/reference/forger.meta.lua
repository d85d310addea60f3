---@meta
-- Editor stubs of the parts of Forger that are written in C; made by tests/support/make_reference.lua.

---@class forger.Tensor
---@field shape integer[]
---@field ndim integer
---@field dtype "f32"|"bf16"|"u8"|"i32"
---@field grad forger.Tensor?
---@field requires_grad boolean
---@operator add(forger.Tensor|number): forger.Tensor
---@operator sub(forger.Tensor|number): forger.Tensor
---@operator mul(forger.Tensor|number): forger.Tensor
---@operator div(forger.Tensor|number): forger.Tensor
---@operator pow(number): forger.Tensor
---@operator unm: forger.Tensor
local Tensor = {}

---@class forger
local fg = {}

--- `fg.tensor(number or nested table [, {dtype=, requires_grad=} or dtype]) -> tensor`
---
--- Tensor from Lua numbers; f32 unless a dtype (f32, bf16, u8, i32) is given. A ragged table raises.
---@param ... any
---@return forger.Tensor
function fg.tensor(...) end

--- `fg.zeros(2, 3) or fg.zeros{2, 3, dtype=, requires_grad=} -> tensor`
---
--- Filled with 0.
---@param ... any
---@return forger.Tensor
function fg.zeros(...) end

--- `fg.ones(2, 3) or fg.ones{2, 3, dtype=, requires_grad=} -> tensor`
---
--- Filled with 1.
---@param ... any
---@return forger.Tensor
function fg.ones(...) end

--- `fg.full({2, 3}, value [, {dtype=, requires_grad=}]) -> tensor`
---
--- Filled with a value.
---@param ... any
---@return forger.Tensor
function fg.full(...) end

--- `fg.eye(n) -> tensor [n,n]`
---
--- Identity matrix.
---@param ... any
---@return forger.Tensor
function fg.eye(...) end

--- `fg.arange(n) or fg.arange(first, end [, step] [, {dtype=}]) -> tensor`
---
--- 0..n-1, or numbers from first that stop before end, as in NumPy.
---@param ... any
---@return forger.Tensor
function fg.arange(...) end

--- `fg.linspace(first, last, n) -> tensor [n]`
---
--- n evenly spaced numbers, both ends included.
---@param ... any
---@return forger.Tensor
function fg.linspace(...) end

--- `fg.rand(2, 3 [, {low=0, high=1, stream=, requires_grad=}]) -> tensor`
---
--- Uniform in [low, high), from a named random stream (default, init, data, latent, dropout, label, sample, eval).
---@param ... any
---@return forger.Tensor
function fg.rand(...) end

--- `fg.randn(2, 3 [, {mean=0, std=1, stream=, requires_grad=}]) -> tensor`
---
--- Normal numbers from a named stream.
---@param ... any
---@return forger.Tensor
function fg.randn(...) end

--- `fg.randperm(n [, {stream=}]) -> i32 tensor [n]`
---
--- 0..n-1 in random order.
---@param ... any
---@return any
function fg.randperm(...) end

--- `fg.randint(n, low, high [, {stream=}]) -> i32 tensor [n]`
---
--- Integers in low..high, both included.
---@param ... any
---@return any
function fg.randint(...) end

--- `fg.random_below(n [, {stream=}]) -> integer`
---
--- An integer in 0..n-1.
---@param ... any
---@return integer
function fg.random_below(...) end

--- `fg.manual_seed(seed)`
---
--- Resets every random stream. Same seed: same bits, for any number of threads.
---@param ... any
---@return any
function fg.manual_seed(...) end

--- `fg.initial_seed() -> integer`
---
--- The seed of the last manual_seed.
---@param ... any
---@return integer
function fg.initial_seed(...) end

--- `fg.cat({a, b, ...} [, axis = 1]) -> tensor`
---
--- Joins tensors along an axis.
---@param ... any
---@return forger.Tensor
function fg.cat(...) end

--- `fg.concat({a, b, ...} [, axis = 1]) -> tensor`
---
--- Same as cat.
---@param ... any
---@return forger.Tensor
function fg.concat(...) end

--- `fg.stack({a, b, ...} [, axis = 1]) -> tensor`
---
--- Joins tensors of one shape along a new axis.
---@param ... any
---@return forger.Tensor
function fg.stack(...) end

--- `fg.is_tensor(value) -> boolean`
---
--- Whether a value is a tensor.
---@param ... any
---@return boolean
function fg.is_tensor(...) end

--- `t:item() -> number`
---
--- The value of a tensor of one element.
---@param ... any
---@return number
function Tensor:item(...) end

--- `t:totable() -> nested table or number`
---
--- All values as Lua tables; integers for u8 and i32.
---@param ... any
---@return any
function Tensor:totable(...) end

--- `t:get(i, j, ...) -> number`
---
--- One value; positions count from 1, -1 is the last.
---@param ... any
---@return number
function Tensor:get(...) end

--- `t:set(i, j, ..., value) -> t`
---
--- Writes one value.
---@param ... any
---@return forger.Tensor
function Tensor:set(...) end

--- `t:set_slice(axis, first, last, value) -> t`
---
--- Writes a number or a tensor of the slice's shape.
---@param ... any
---@return forger.Tensor
function Tensor:set_slice(...) end

--- `t:slice(axis, first [, last = -1]) -> tensor`
---
--- Positions first..last of an axis, both included; a view on axis 1.
---@param ... any
---@return forger.Tensor
function Tensor:slice(...) end

--- `t:slice(axis, first [, last = -1]) -> tensor`
---
--- Positions first..last of an axis, both included; a view on axis 1.
---@param ... any
---@return forger.Tensor
function fg.slice(...) end

--- `t:size(axis) -> integer; t:size() -> table`
---
--- Size of an axis, or all sizes (t.shape).
---@param ... any
---@return any
function Tensor:size(...) end

--- `t:numel() -> integer`
---
--- Number of elements.
---@param ... any
---@return integer
function Tensor:numel(...) end

--- `t:is_leaf() -> boolean`
---
--- Whether no recorded op made this tensor.
---@param ... any
---@return boolean
function Tensor:is_leaf(...) end

--- `t:op_name() -> string or nil`
---
--- Name of the op that made this tensor.
---@param ... any
---@return any
function Tensor:op_name(...) end

--- `t:is_finite() -> boolean`
---
--- Whether no element is NaN or infinite.
---@param ... any
---@return boolean
function Tensor:is_finite(...) end

--- `fg.equal(a, b) -> boolean`
---
--- Same dtype, shape and values. a == b asks whether both are the same tensor.
---@param ... any
---@return boolean
function fg.equal(...) end

--- `t:clone() -> tensor`
---
--- A copy with memory of its own; gradients flow through it.
---@param ... any
---@return forger.Tensor
function Tensor:clone(...) end

--- `t:detach() -> tensor`
---
--- The same values without history.
---@param ... any
---@return forger.Tensor
function Tensor:detach(...) end

--- `t:to(dtype) -> tensor`
---
--- Converted to f32, bf16, u8 or i32; itself when it has that dtype.
---@param ... any
---@return forger.Tensor
function Tensor:to(...) end

--- `t:free()`
---
--- Gives the memory back at once; using t afterwards raises.
---@param ... any
---@return any
function Tensor:free(...) end

--- `t:fill_(value) -> t`
---
--- In place: sets every element.
---@param ... any
---@return forger.Tensor
function Tensor:fill_(...) end

--- `t:zero_() -> t`
---
--- In place: sets every element to 0.
---@param ... any
---@return forger.Tensor
function Tensor:zero_(...) end

--- `t:copy_(source) -> t`
---
--- In place: copies a tensor of the same shape, converting its dtype.
---@param ... any
---@return forger.Tensor
function Tensor:copy_(...) end

--- `t:add_(x [, alpha]) -> t`
---
--- In place: t + alpha x, unrecorded; x a tensor or a number.
---@param ... any
---@return forger.Tensor
function Tensor:add_(...) end

--- `t:sub_(x [, alpha]) -> t`
---
--- In place: t - alpha x.
---@param ... any
---@return forger.Tensor
function Tensor:sub_(...) end

--- `t:mul_(x) -> t`
---
--- In place: t * x.
---@param ... any
---@return forger.Tensor
function Tensor:mul_(...) end

--- `t:div_(x) -> t`
---
--- In place: t / x.
---@param ... any
---@return forger.Tensor
function Tensor:div_(...) end

--- `t:clamp_(low, high) -> t`
---
--- In place: limits every element.
---@param ... any
---@return forger.Tensor
function Tensor:clamp_(...) end

--- `t:uniform_([low = 0, high = 1]) -> t`
---
--- In place: uniform numbers from the stream init.
---@param ... any
---@return forger.Tensor
function Tensor:uniform_(...) end

--- `t:normal_([mean = 0, std = 1]) -> t`
---
--- In place: normal numbers from the stream init.
---@param ... any
---@return forger.Tensor
function Tensor:normal_(...) end

--- `t:add(x) -> tensor`
---
--- t + x.
---@param ... any
---@return forger.Tensor
function Tensor:add(...) end

--- `t:add(x) -> tensor`
---
--- t + x.
---@param ... any
---@return forger.Tensor
function fg.add(...) end

--- `t:sub(x) -> tensor`
---
--- t - x.
---@param ... any
---@return forger.Tensor
function Tensor:sub(...) end

--- `t:sub(x) -> tensor`
---
--- t - x.
---@param ... any
---@return forger.Tensor
function fg.sub(...) end

--- `t:mul(x) -> tensor`
---
--- t * x.
---@param ... any
---@return forger.Tensor
function Tensor:mul(...) end

--- `t:mul(x) -> tensor`
---
--- t * x.
---@param ... any
---@return forger.Tensor
function fg.mul(...) end

--- `t:div(x) -> tensor`
---
--- t / x.
---@param ... any
---@return forger.Tensor
function Tensor:div(...) end

--- `t:div(x) -> tensor`
---
--- t / x.
---@param ... any
---@return forger.Tensor
function fg.div(...) end

--- `t:pow(exponent) -> tensor`
---
--- t to the power of a number; t ^ p.
---@param ... any
---@return forger.Tensor
function Tensor:pow(...) end

--- `t:pow(exponent) -> tensor`
---
--- t to the power of a number; t ^ p.
---@param ... any
---@return forger.Tensor
function fg.pow(...) end

--- `t:neg() -> tensor`
---
--- -t.
---@param ... any
---@return forger.Tensor
function Tensor:neg(...) end

--- `t:neg() -> tensor`
---
--- -t.
---@param ... any
---@return forger.Tensor
function fg.neg(...) end

--- `t:affine(scale, shift) -> tensor`
---
--- scale * t + shift in one op.
---@param ... any
---@return forger.Tensor
function Tensor:affine(...) end

--- `t:affine(scale, shift) -> tensor`
---
--- scale * t + shift in one op.
---@param ... any
---@return forger.Tensor
function fg.affine(...) end

--- `t:maximum(x) -> tensor`
---
--- The larger of two, element by element.
---@param ... any
---@return forger.Tensor
function Tensor:maximum(...) end

--- `t:maximum(x) -> tensor`
---
--- The larger of two, element by element.
---@param ... any
---@return forger.Tensor
function fg.maximum(...) end

--- `t:minimum(x) -> tensor`
---
--- The smaller of two.
---@param ... any
---@return forger.Tensor
function Tensor:minimum(...) end

--- `t:minimum(x) -> tensor`
---
--- The smaller of two.
---@param ... any
---@return forger.Tensor
function fg.minimum(...) end

--- `t:eq(x) -> u8 tensor`
---
--- 1 where equal, else 0. x a tensor or a number, as in all comparisons.
---@param ... any
---@return any
function Tensor:eq(...) end

--- `t:eq(x) -> u8 tensor`
---
--- 1 where equal, else 0. x a tensor or a number, as in all comparisons.
---@param ... any
---@return any
function fg.eq(...) end

--- `t:ne(x) -> u8 tensor`
---
--- 1 where different.
---@param ... any
---@return any
function Tensor:ne(...) end

--- `t:ne(x) -> u8 tensor`
---
--- 1 where different.
---@param ... any
---@return any
function fg.ne(...) end

--- `t:lt(x) -> u8 tensor`
---
--- 1 where t < x.
---@param ... any
---@return any
function Tensor:lt(...) end

--- `t:lt(x) -> u8 tensor`
---
--- 1 where t < x.
---@param ... any
---@return any
function fg.lt(...) end

--- `t:le(x) -> u8 tensor`
---
--- 1 where t <= x.
---@param ... any
---@return any
function Tensor:le(...) end

--- `t:le(x) -> u8 tensor`
---
--- 1 where t <= x.
---@param ... any
---@return any
function fg.le(...) end

--- `t:gt(x) -> u8 tensor`
---
--- 1 where t > x.
---@param ... any
---@return any
function Tensor:gt(...) end

--- `t:gt(x) -> u8 tensor`
---
--- 1 where t > x.
---@param ... any
---@return any
function fg.gt(...) end

--- `t:ge(x) -> u8 tensor`
---
--- 1 where t >= x.
---@param ... any
---@return any
function Tensor:ge(...) end

--- `t:ge(x) -> u8 tensor`
---
--- 1 where t >= x.
---@param ... any
---@return any
function fg.ge(...) end

--- `fg.where(cond, a, b) -> tensor`
---
--- a where cond is not 0, else b.
---@param ... any
---@return forger.Tensor
function Tensor:where(...) end

--- `fg.where(cond, a, b) -> tensor`
---
--- a where cond is not 0, else b.
---@param ... any
---@return forger.Tensor
function fg.where(...) end

--- `t:exp() -> tensor`
---
--- e to the power of t.
---@param ... any
---@return forger.Tensor
function Tensor:exp(...) end

--- `t:exp() -> tensor`
---
--- e to the power of t.
---@param ... any
---@return forger.Tensor
function fg.exp(...) end

--- `t:log() -> tensor`
---
--- Natural logarithm.
---@param ... any
---@return forger.Tensor
function Tensor:log(...) end

--- `t:log() -> tensor`
---
--- Natural logarithm.
---@param ... any
---@return forger.Tensor
function fg.log(...) end

--- `t:sqrt() -> tensor`
---
--- Square root.
---@param ... any
---@return forger.Tensor
function Tensor:sqrt(...) end

--- `t:sqrt() -> tensor`
---
--- Square root.
---@param ... any
---@return forger.Tensor
function fg.sqrt(...) end

--- `t:square() -> tensor`
---
--- t * t.
---@param ... any
---@return forger.Tensor
function Tensor:square(...) end

--- `t:square() -> tensor`
---
--- t * t.
---@param ... any
---@return forger.Tensor
function fg.square(...) end

--- `t:abs() -> tensor`
---
--- Absolute value; gradient 0 at 0.
---@param ... any
---@return forger.Tensor
function Tensor:abs(...) end

--- `t:abs() -> tensor`
---
--- Absolute value; gradient 0 at 0.
---@param ... any
---@return forger.Tensor
function fg.abs(...) end

--- `t:sign() -> tensor`
---
--- -1, 0 or 1; no gradient.
---@param ... any
---@return forger.Tensor
function Tensor:sign(...) end

--- `t:sign() -> tensor`
---
--- -1, 0 or 1; no gradient.
---@param ... any
---@return forger.Tensor
function fg.sign(...) end

--- `t:sin() -> tensor`
---
--- Sine.
---@param ... any
---@return forger.Tensor
function Tensor:sin(...) end

--- `t:sin() -> tensor`
---
--- Sine.
---@param ... any
---@return forger.Tensor
function fg.sin(...) end

--- `t:cos() -> tensor`
---
--- Cosine.
---@param ... any
---@return forger.Tensor
function Tensor:cos(...) end

--- `t:cos() -> tensor`
---
--- Cosine.
---@param ... any
---@return forger.Tensor
function fg.cos(...) end

--- `t:tanh() -> tensor`
---
--- Hyperbolic tangent.
---@param ... any
---@return forger.Tensor
function Tensor:tanh(...) end

--- `t:tanh() -> tensor`
---
--- Hyperbolic tangent.
---@param ... any
---@return forger.Tensor
function fg.tanh(...) end

--- `t:sigmoid() -> tensor`
---
--- 1 / (1 + exp(-t)).
---@param ... any
---@return forger.Tensor
function Tensor:sigmoid(...) end

--- `t:sigmoid() -> tensor`
---
--- 1 / (1 + exp(-t)).
---@param ... any
---@return forger.Tensor
function fg.sigmoid(...) end

--- `t:softplus() -> tensor`
---
--- log(1 + exp t), stable.
---@param ... any
---@return forger.Tensor
function Tensor:softplus(...) end

--- `t:softplus() -> tensor`
---
--- log(1 + exp t), stable.
---@param ... any
---@return forger.Tensor
function fg.softplus(...) end

--- `t:relu() -> tensor`
---
--- max(t, 0).
---@param ... any
---@return forger.Tensor
function Tensor:relu(...) end

--- `t:relu() -> tensor`
---
--- max(t, 0).
---@param ... any
---@return forger.Tensor
function fg.relu(...) end

--- `t:leaky_relu([slope = 0.01]) -> tensor`
---
--- t where positive, else slope * t.
---@param ... any
---@return forger.Tensor
function Tensor:leaky_relu(...) end

--- `t:leaky_relu([slope = 0.01]) -> tensor`
---
--- t where positive, else slope * t.
---@param ... any
---@return forger.Tensor
function fg.leaky_relu(...) end

--- `t:clamp(low, high) -> tensor`
---
--- Limits every element; gradient 1 between the bounds, 0 on them and outside.
---@param ... any
---@return forger.Tensor
function Tensor:clamp(...) end

--- `t:clamp(low, high) -> tensor`
---
--- Limits every element; gradient 1 between the bounds, 0 on them and outside.
---@param ... any
---@return forger.Tensor
function fg.clamp(...) end

--- `t:cast(dtype) -> tensor`
---
--- Same as t:to(dtype), always a new tensor.
---@param ... any
---@return forger.Tensor
function Tensor:cast(...) end

--- `t:cast(dtype) -> tensor`
---
--- Same as t:to(dtype), always a new tensor.
---@param ... any
---@return forger.Tensor
function fg.cast(...) end

--- `fg.act_grad(dy, y, activation [, slope]) -> tensor`
---
--- dy times the activation's slope, written in its output y.
---@param ... any
---@return forger.Tensor
function Tensor:act_grad(...) end

--- `fg.act_grad(dy, y, activation [, slope]) -> tensor`
---
--- dy times the activation's slope, written in its output y.
---@param ... any
---@return forger.Tensor
function fg.act_grad(...) end

--- `t:sum([axis or {axes}] [, keepdim]) -> tensor`
---
--- Sum over axes, all when absent.
---@param ... any
---@return forger.Tensor
function Tensor:sum(...) end

--- `t:sum([axis or {axes}] [, keepdim]) -> tensor`
---
--- Sum over axes, all when absent.
---@param ... any
---@return forger.Tensor
function fg.sum(...) end

--- `t:mean([axis or {axes}] [, keepdim]) -> tensor`
---
--- Mean.
---@param ... any
---@return forger.Tensor
function Tensor:mean(...) end

--- `t:mean([axis or {axes}] [, keepdim]) -> tensor`
---
--- Mean.
---@param ... any
---@return forger.Tensor
function fg.mean(...) end

--- `t:max([axis or {axes}] [, keepdim]) -> tensor`
---
--- Largest value; ties share the gradient equally.
---@param ... any
---@return forger.Tensor
function Tensor:max(...) end

--- `t:max([axis or {axes}] [, keepdim]) -> tensor`
---
--- Largest value; ties share the gradient equally.
---@param ... any
---@return forger.Tensor
function fg.max(...) end

--- `t:min([axis or {axes}] [, keepdim]) -> tensor`
---
--- Smallest value.
---@param ... any
---@return forger.Tensor
function Tensor:min(...) end

--- `t:min([axis or {axes}] [, keepdim]) -> tensor`
---
--- Smallest value.
---@param ... any
---@return forger.Tensor
function fg.min(...) end

--- `t:argmax([axis = -1] [, keepdim]) -> i32 tensor`
---
--- 0-based place of the largest value, the first of equals.
---@param ... any
---@return any
function Tensor:argmax(...) end

--- `t:argmax([axis = -1] [, keepdim]) -> i32 tensor`
---
--- 0-based place of the largest value, the first of equals.
---@param ... any
---@return any
function fg.argmax(...) end

--- `t:var([axis] [, keepdim]) -> tensor`
---
--- Variance, divided by n.
---@param ... any
---@return forger.Tensor
function Tensor:var(...) end

--- `t:std([axis] [, keepdim]) -> tensor`
---
--- Root of var.
---@param ... any
---@return forger.Tensor
function Tensor:std(...) end

--- `t:norm([axis] [, keepdim]) -> tensor`
---
--- Root of the sum of squares.
---@param ... any
---@return forger.Tensor
function Tensor:norm(...) end

--- `t:log_softmax() -> tensor`
---
--- Logarithm of softmax over the last axis.
---@param ... any
---@return forger.Tensor
function Tensor:log_softmax(...) end

--- `t:log_softmax() -> tensor`
---
--- Logarithm of softmax over the last axis.
---@param ... any
---@return forger.Tensor
function fg.log_softmax(...) end

--- `t:softmax() -> tensor`
---
--- Softmax over the last axis.
---@param ... any
---@return forger.Tensor
function Tensor:softmax(...) end

--- `t:broadcast_to(2, 3) or t:broadcast_to{2, 3} -> tensor`
---
--- Repeats axes of size 1.
---@param ... any
---@return forger.Tensor
function Tensor:broadcast_to(...) end

--- `t:broadcast_to(2, 3) or t:broadcast_to{2, 3} -> tensor`
---
--- Repeats axes of size 1.
---@param ... any
---@return forger.Tensor
function fg.broadcast_to(...) end

--- `t:expand(2, 3) -> tensor`
---
--- Same as broadcast_to.
---@param ... any
---@return forger.Tensor
function Tensor:expand(...) end

--- `t:reduce_to{2, 3} -> tensor`
---
--- The adjoint of broadcast_to: sums the axes that broadcasting added.
---@param ... any
---@return forger.Tensor
function Tensor:reduce_to(...) end

--- `t:reduce_to{2, 3} -> tensor`
---
--- The adjoint of broadcast_to: sums the axes that broadcasting added.
---@param ... any
---@return forger.Tensor
function fg.reduce_to(...) end

--- `t:reshape(2, -1) or t:reshape{2, -1} -> tensor`
---
--- A view of another shape; one size may be -1.
---@param ... any
---@return forger.Tensor
function Tensor:reshape(...) end

--- `t:reshape(2, -1) or t:reshape{2, -1} -> tensor`
---
--- A view of another shape; one size may be -1.
---@param ... any
---@return forger.Tensor
function fg.reshape(...) end

--- `t:view(2, -1) -> tensor`
---
--- Same as reshape.
---@param ... any
---@return forger.Tensor
function Tensor:view(...) end

--- `t:flatten([first = 2]) -> tensor`
---
--- Joins the axes from first on.
---@param ... any
---@return forger.Tensor
function Tensor:flatten(...) end

--- `t:squeeze([axis]) -> tensor`
---
--- Without axes of size 1.
---@param ... any
---@return forger.Tensor
function Tensor:squeeze(...) end

--- `t:unsqueeze(axis) -> tensor`
---
--- With a new axis of size 1.
---@param ... any
---@return forger.Tensor
function Tensor:unsqueeze(...) end

--- `t:transpose() or t:transpose(a, b) or t:transpose{...} -> tensor`
---
--- Reverses the axes, swaps two, or puts all into the given order. Copies.
---@param ... any
---@return forger.Tensor
function Tensor:transpose(...) end

--- `t:transpose() or t:transpose(a, b) or t:transpose{...} -> tensor`
---
--- Reverses the axes, swaps two, or puts all into the given order. Copies.
---@param ... any
---@return forger.Tensor
function fg.transpose(...) end

--- `t:permute(2, 1, 3) -> tensor`
---
--- The axes in the given order.
---@param ... any
---@return forger.Tensor
function Tensor:permute(...) end

--- `t:slice_adjoint(axis, first, size) -> tensor`
---
--- Zeros around t: the axis grows to size. Adjoint of slice.
---@param ... any
---@return forger.Tensor
function Tensor:slice_adjoint(...) end

--- `t:slice_adjoint(axis, first, size) -> tensor`
---
--- Zeros around t: the axis grows to size. Adjoint of slice.
---@param ... any
---@return forger.Tensor
function fg.slice_adjoint(...) end

--- `t:matmul(b [, ta] [, tb]) -> tensor`
---
--- [M,K] x [K,N] -> [M,N]; ta, tb transpose the operands.
---@param ... any
---@return forger.Tensor
function Tensor:matmul(...) end

--- `t:matmul(b [, ta] [, tb]) -> tensor`
---
--- [M,K] x [K,N] -> [M,N]; ta, tb transpose the operands.
---@param ... any
---@return forger.Tensor
function fg.matmul(...) end

--- `fg.linear(x, w [, bias] [, {act=, slope=}]) -> tensor`
---
--- act(x[N,in] w[in,out] + bias[out]).
---@param ... any
---@return forger.Tensor
function Tensor:linear(...) end

--- `fg.linear(x, w [, bias] [, {act=, slope=}]) -> tensor`
---
--- act(x[N,in] w[in,out] + bias[out]).
---@param ... any
---@return forger.Tensor
function fg.linear(...) end

--- `fg.conv2d(x, w [, bias] [, {stride=, padding=, act=, slope=}]) -> tensor`
---
--- x[N,H,W,Ci], w[KH,KW,Ci,Co]. padding: an integer, {h, w}, {top, bottom, left, right} or "same" (TensorFlow's).
---@param ... any
---@return forger.Tensor
function Tensor:conv2d(...) end

--- `fg.conv2d(x, w [, bias] [, {stride=, padding=, act=, slope=}]) -> tensor`
---
--- x[N,H,W,Ci], w[KH,KW,Ci,Co]. padding: an integer, {h, w}, {top, bottom, left, right} or "same" (TensorFlow's).
---@param ... any
---@return forger.Tensor
function fg.conv2d(...) end

--- `fg.conv_transpose2d(x, w [, bias] [, {stride=, padding=, output_padding=, output_size=}]) -> tensor`
---
--- The adjoint of conv2d in x; w[KH,KW,Co,Ci].
---@param ... any
---@return forger.Tensor
function Tensor:conv_transpose2d(...) end

--- `fg.conv_transpose2d(x, w [, bias] [, {stride=, padding=, output_padding=, output_size=}]) -> tensor`
---
--- The adjoint of conv2d in x; w[KH,KW,Co,Ci].
---@param ... any
---@return forger.Tensor
function fg.conv_transpose2d(...) end

--- `fg.conv2d_dw(x, dy, kernel [, {stride=, padding=}]) -> tensor`
---
--- The adjoint of conv2d in w.
---@param ... any
---@return forger.Tensor
function Tensor:conv2d_dw(...) end

--- `fg.conv2d_dw(x, dy, kernel [, {stride=, padding=}]) -> tensor`
---
--- The adjoint of conv2d in w.
---@param ... any
---@return forger.Tensor
function fg.conv2d_dw(...) end

--- `fg.batch_norm(x, gamma, beta, running_mean, running_var [, {eps=, momentum=, training=, act=, slope=}])`
---
--- Over all axes but the last; momentum is the weight of the new batch.
---@param ... any
---@return any
function Tensor:batch_norm(...) end

--- `fg.batch_norm(x, gamma, beta, running_mean, running_var [, {eps=, momentum=, training=, act=, slope=}])`
---
--- Over all axes but the last; momentum is the weight of the new batch.
---@param ... any
---@return any
function fg.batch_norm(...) end

--- `t:dropout(p) -> tensor`
---
--- Zeroes with probability p, scales by 1/(1-p); always active (nn.Dropout has a mode).
---@param ... any
---@return forger.Tensor
function Tensor:dropout(...) end

--- `t:dropout(p) -> tensor`
---
--- Zeroes with probability p, scales by 1/(1-p); always active (nn.Dropout has a mode).
---@param ... any
---@return forger.Tensor
function fg.dropout(...) end

--- `fg.gather(table, ids) -> tensor`
---
--- Rows of a table: ids a tensor of 0-based ids or a list of 1-based positions.
---@param ... any
---@return forger.Tensor
function Tensor:gather(...) end

--- `fg.gather(table, ids) -> tensor`
---
--- Rows of a table: ids a tensor of 0-based ids or a list of 1-based positions.
---@param ... any
---@return forger.Tensor
function fg.gather(...) end

--- `fg.gather_adjoint(dy, ids, rows) -> tensor`
---
--- Adds rows of dy into zeros [rows, ...].
---@param ... any
---@return forger.Tensor
function Tensor:gather_adjoint(...) end

--- `fg.gather_adjoint(dy, ids, rows) -> tensor`
---
--- Adds rows of dy into zeros [rows, ...].
---@param ... any
---@return forger.Tensor
function fg.gather_adjoint(...) end

--- `t:avg_pool2d(kernel [, {stride=, padding=}]) -> tensor`
---
--- Mean of windows; padding counts as zeros.
---@param ... any
---@return forger.Tensor
function Tensor:avg_pool2d(...) end

--- `t:avg_pool2d(kernel [, {stride=, padding=}]) -> tensor`
---
--- Mean of windows; padding counts as zeros.
---@param ... any
---@return forger.Tensor
function fg.avg_pool2d(...) end

--- `fg.avg_pool2d_adjoint(dy, kernel, ...) -> tensor`
---
--- Its adjoint.
---@param ... any
---@return forger.Tensor
function Tensor:avg_pool2d_adjoint(...) end

--- `fg.avg_pool2d_adjoint(dy, kernel, ...) -> tensor`
---
--- Its adjoint.
---@param ... any
---@return forger.Tensor
function fg.avg_pool2d_adjoint(...) end

--- `t:max_pool2d(kernel [, {stride=, padding=}]) -> tensor`
---
--- Largest of windows.
---@param ... any
---@return forger.Tensor
function Tensor:max_pool2d(...) end

--- `t:max_pool2d(kernel [, {stride=, padding=}]) -> tensor`
---
--- Largest of windows.
---@param ... any
---@return forger.Tensor
function fg.max_pool2d(...) end

--- `fg.max_pool2d_pick(x, u, kernel, ...) -> tensor`
---
--- u at the places of x's maxima.
---@param ... any
---@return forger.Tensor
function Tensor:max_pool2d_pick(...) end

--- `fg.max_pool2d_pick(x, u, kernel, ...) -> tensor`
---
--- u at the places of x's maxima.
---@param ... any
---@return forger.Tensor
function fg.max_pool2d_pick(...) end

--- `fg.max_pool2d_scatter(x, dy, kernel, ...) -> tensor`
---
--- The adjoint of max_pool2d_pick in u.
---@param ... any
---@return forger.Tensor
function Tensor:max_pool2d_scatter(...) end

--- `fg.max_pool2d_scatter(x, dy, kernel, ...) -> tensor`
---
--- The adjoint of max_pool2d_pick in u.
---@param ... any
---@return forger.Tensor
function fg.max_pool2d_scatter(...) end

--- `t:upsample2d(factor) -> tensor`
---
--- Nearest neighbour, factor an integer or {h, w}.
---@param ... any
---@return forger.Tensor
function Tensor:upsample2d(...) end

--- `t:upsample2d(factor) -> tensor`
---
--- Nearest neighbour, factor an integer or {h, w}.
---@param ... any
---@return forger.Tensor
function fg.upsample2d(...) end

--- `fg.bce(p, target) -> tensor`
---
--- Binary cross-entropy from probabilities, per element; clamps to [1e-7, 1-1e-7].
---@param ... any
---@return forger.Tensor
function Tensor:bce(...) end

--- `fg.bce(p, target) -> tensor`
---
--- Binary cross-entropy from probabilities, per element; clamps to [1e-7, 1-1e-7].
---@param ... any
---@return forger.Tensor
function fg.bce(...) end

--- `fg.bce_logits(x, target) -> tensor`
---
--- Binary cross-entropy from logits, per element.
---@param ... any
---@return forger.Tensor
function Tensor:bce_logits(...) end

--- `fg.bce_logits(x, target) -> tensor`
---
--- Binary cross-entropy from logits, per element.
---@param ... any
---@return forger.Tensor
function fg.bce_logits(...) end

--- `fg.cross_entropy(logits, labels) -> tensor [N]`
---
--- Per row of [N,K]; labels 0-based, i32 or u8.
---@param ... any
---@return forger.Tensor
function Tensor:cross_entropy(...) end

--- `fg.cross_entropy(logits, labels) -> tensor [N]`
---
--- Per row of [N,K]; labels 0-based, i32 or u8.
---@param ... any
---@return forger.Tensor
function fg.cross_entropy(...) end

--- `fg.bce_with_logits(logits, target [, reduction = "mean"]) -> tensor`
---
--- bce_logits, reduced.
---@param ... any
---@return forger.Tensor
function fg.bce_with_logits(...) end

--- `fg.binary_cross_entropy(p, target [, reduction = "mean"]) -> tensor`
---
--- bce, reduced.
---@param ... any
---@return forger.Tensor
function fg.binary_cross_entropy(...) end

--- `fg.cross_entropy_loss(logits, labels [, reduction = "mean"]) -> tensor`
---
--- cross_entropy, reduced.
---@param ... any
---@return forger.Tensor
function fg.cross_entropy_loss(...) end

--- `fg.mse_loss(x, target [, reduction = "mean"]) -> tensor`
---
--- Mean squared error.
---@param ... any
---@return forger.Tensor
function fg.mse_loss(...) end

--- `fg.l1_loss(x, target [, reduction = "mean"]) -> tensor`
---
--- Mean absolute error.
---@param ... any
---@return forger.Tensor
function fg.l1_loss(...) end

--- `t:backward([grad_output] [, {retain_graph=}])`
---
--- Adds gradients into .grad of every leaf; frees the graph.
---@param ... any
---@return any
function Tensor:backward(...) end

--- `t:requires_grad_([on = true]) -> t`
---
--- Marks a leaf as wanting a gradient.
---@param ... any
---@return forger.Tensor
function Tensor:requires_grad_(...) end

--- `fg.grad(y, x or {x, ...} [, {create_graph=, retain_graph=, grad_output=}]) -> tensor or list`
---
--- Gradients without touching .grad; create_graph makes them differentiable. false (nil for one x) where y does not depend on x.
---@param ... any
---@return any
function fg.grad(...) end

--- `fg.no_grad(f, ...) -> f's results`
---
--- Runs f without recording; the mode comes back even after an error.
---@param ... any
---@return any
function fg.no_grad(...) end

--- `fg.enable_grad(f, ...) -> f's results`
---
--- Runs f with recording, inside no_grad.
---@param ... any
---@return any
function fg.enable_grad(...) end

--- `fg.set_grad_enabled(on) -> previous`
---
--- Switches recording.
---@param ... any
---@return any
function fg.set_grad_enabled(...) end

--- `fg.grad_enabled() -> boolean`
---
--- Whether ops are recorded.
---@param ... any
---@return boolean
function fg.grad_enabled(...) end

--- `fg.scope(f, ...) -> f's results; or local s <close> = fg.scope()`
---
--- Frees the tensors made inside at its end, except returned ones and those given to s:keep(t). f gets the scope first.
---@param ... any
---@return any
function fg.scope(...) end

--- `fg.set_threads(n)`
---
--- Threads to use, 1..64; results do not depend on it.
---@param ... any
---@return any
function fg.set_threads(...) end

--- `fg.get_threads() -> integer`
---
--- Threads in use; by default the cores this process may use.
---@param ... any
---@return integer
function fg.get_threads(...) end

--- `fg.set_precision("f32" | "bf16" | "auto")`
---
--- Precision of ops called from now on. bf16: matmul, linear and convolutions take operands rounded to bf16 and sum in f32; they, norms, relu, leaky_relu, dropout and pooling store bf16; parameters, their gradients and statistics stay f32. Faster for linear layers (AVX512-BF16) and, with AMX, for convolutions. auto: bf16 with AMX, else f32.
---@param ... any
---@return any
function fg.set_precision(...) end

--- `fg.get_precision() -> string`
---
--- The precision in use, "f32" or "bf16": never "auto".
---@param ... any
---@return string
function fg.get_precision(...) end

--- `fg.set_fast_conv(on)`
---
--- false forces direct sums in f32 convolutions.
---@param ... any
---@return any
function fg.set_fast_conv(...) end

--- `fg.get_fast_conv() -> boolean`
---
--- Whether transformed convolutions are allowed.
---@param ... any
---@return boolean
function fg.get_fast_conv(...) end

--- `fg.isa() -> string`
---
--- Instruction set in use: scalar, avx2, avx512, ...
---@param ... any
---@return string
function fg.isa(...) end

--- `fg.cpu() -> string`
---
--- The CPU and the features found.
---@param ... any
---@return string
function fg.cpu(...) end

--- `fg.memory() -> table`
---
--- Bytes: live, cached, peak, system, resident; counts: requests, system_calls.
---@param ... any
---@return any
function fg.memory(...) end

--- `fg.memory_reset_peak()`
---
--- Peak starts again at the live bytes.
---@param ... any
---@return any
function fg.memory_reset_peak(...) end

--- `fg.memory_trim()`
---
--- Gives cached blocks back to the system.
---@param ... any
---@return any
function fg.memory_trim(...) end

--- `fg.interrupted() -> boolean`
---
--- Whether Ctrl-C was pressed while a Trainer or a script of yours watches for it.
---@param ... any
---@return boolean
function fg.interrupted(...) end

--- `fg.save(path, {name = tensor} [, {key = string}]) -> true or nil, message`
---
--- Writes a safetensors file.
---@param ... any
---@return any
function fg.save(...) end

--- `fg.load(path) -> {name = tensor}, {key = string} or nil, message`
---
--- Reads one.
---@param ... any
---@return any
function fg.load(...) end

--- `fg.idx(path) -> tensor or nil, message`
---
--- Reads an IDX file (MNIST), plain or .gz.
---@param ... any
---@return any
function fg.idx(...) end

--- `fg.help([name])`
---
--- Prints reference entries.
---@param ... any
---@return any
function fg.help(...) end

return fg

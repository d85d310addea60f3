--- Generative adversarial training (Goodfellow et al. 2014, arXiv:1406.2661): losses, regularizers, the latent prior,
--- the average of G, and the Trainer that puts them together. Everything here is plain Lua over the core: copy and
--- change it.
local gan = {}

gan.losses = require "forger.gan.losses"
gan.regularizers = require "forger.gan.regularizers"
gan.readouts = require "forger.gan.readouts"

local latent = require "forger.gan.latent"
gan.Latent = latent.new
gan.sample = latent.sample

gan.EMA = require("forger.gan.average").new
gan.Trainer = require("forger.gan.trainer").new

return gan

"""A catalogue of networks on arrays and on sets, one file each, with its reference.

All networks of sets share one call, ``network(features, mask, p4)``, and can stand for each other as taggers, judges
and parts of generators; see :class:`fastsim.networks.sets.SetNetwork`.
"""

from __future__ import annotations

CATALOGUE = {
    "mlp": "fastsim.networks.mlp:MLP",
    "deep-sets": "fastsim.networks.deep_sets:DeepSets",
    "edge-convolution": "fastsim.networks.edge_convolution:EdgeConvolution",
    "particle-transformer": "fastsim.networks.particle_transformer:ParticleTransformer",
    "self-attention": "fastsim.networks.self_attention:SelfAttention",
    "mixer": "fastsim.networks.mixer:Mixer",
    "cross-attention": "fastsim.networks.cross_attention:CrossAttention",
    "lorentz": "fastsim.networks.lorentz:LorentzNetwork",
}
"""Where each network of the catalogue is, by the name that blocks know it by."""

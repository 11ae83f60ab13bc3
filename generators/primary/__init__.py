"""Models of primary hadrons: parton or colour singlet -> latent -> what fragmentation makes; exact decays follow."""

"""Files in and out: Les Houches events in; HepMC3, HDF5 and ROOT out. One format a module."""

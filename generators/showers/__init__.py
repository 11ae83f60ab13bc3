"""Calorimeter showers without Geant4: libraries of its showers, trained models, and files made with either."""

"""Disturbances of pictures that a network is to hold up under: of pens, of photographs, of cheap cameras."""

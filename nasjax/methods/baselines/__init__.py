"""The methods that the three papers compare themselves with, one file each."""

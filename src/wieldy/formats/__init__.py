"""How a tensor is stored: the contract between the method that writes it and the kernel that reads it."""

from wieldy.formats import dense

FORMATS = {"dense": dense}

"""One function for each operator of the allow-list, from ATen to OpenVINO; table.py lists them."""

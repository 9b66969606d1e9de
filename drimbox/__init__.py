"""DRIMbox: the gateway between a radiology centre and the national imaging network DRIM-M."""

__version__ = "0.1.0"

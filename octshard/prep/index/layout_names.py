"""What public data sets are called on a command line. No more is here, as `octshard --help` reads it."""

FAIRVISION, HARVARD_GF, HARVARD_DR = "fairvision", "harvard-gf", "harvard-dr"
OCTA_500, OLIVES, OCTDL, DUKE_2013, DUKE_2014 = "octa-500", "olives", "octdl", "duke-2013", "duke-2014"
OF_FILES = (FAIRVISION, HARVARD_GF, HARVARD_DR)  # a file for each person
OF_B_SCANS = (OCTA_500, OLIVES, OCTDL, DUKE_2013, DUKE_2014)
ALL = (*OF_FILES, *OF_B_SCANS)

"""The words of details that name nobody: those of our own texts, and of what formats call their fields.

Under pseudonyms a detail has no other words (`private_path`). What is not listed is left out, so a word that
is forgotten costs clarity, and nothing else.
"""

_TEXT = """
ARGB AVI AZSCANLENGTH AcquisitionDate AcquisitionDateTime AcquisitionNumber AnatomicRegionSequence Another
AppleDouble Attributes BMP BScanHdrSize BigTIFF BinaryData BinaryDataByteOrderMSB Bioptigen Bit
BitsAllocated BitsStored C CAPTURE_INFO CAPTURE_INFO_02 CMDb CMYK COLOR CRC Capture Cirrus CodeValue Columns
Compressed CompressedData ConcatenationFrameOffset ConcatenationFrameOffsetNumber ConcatenationUID
ContentDate Converted D DICM DICOM DOC DST DS_Store DimSize DimensionIndexValues Disc ELSCANLENGTH EOF EOI
ElementByteOrderMSB ElementDataFile ElementNumberOfChannels ElementSize ElementSpacing ElementType
Engineering Every FRAMECOUNT FRAMEDATA FRAMELINES FRAMES FRAMESAMPLES FRAMESPERVOLUME False Frame
FrameAnatomySequence FrameContentSequence FrameGroups FrameLaterality FrameOfReferenceUID Frames Future GB
GIF GiB Git H HDF5 HEIF HH HSV HTML HW_INFO_01 HW_INFO_02 HW_INFO_03 Header HeaderSize Heidelberg IDENTITY
IMG_JPEG IMG_SCAN_02 IMG_SCAN_03 Image ImageJ ImageLaterality ImageOrientationPatient ImagePositionPatient
In InConcatenation InConcatenationNumber InConcatenationTotalNumber InStackPositionNumber InstanceNumber It
Its JP2 JPEG JPEG2000 JSON L LA LFS LINEAR LINECOUNT LINELENGTH LIST LL LOCAL LR Laterality MATLAB MB
MDbData MDbDir MET_CHAR MET_DOUBLE MET_FLOAT MET_INT MET_LONG MET_LONG_LONG MET_SHORT MET_UCHAR MET_UINT
MET_ULONG MET_ULONG_LONG MET_USHORT MONOCHROME MONOCHROME1 MONOCHROME2 MP4 Macula Manufacturer
ManufacturerModelName Many Member MemoryError MetaIO MetaImage More Most Multi NDims NFKC NIfTI NO NONLINEAR
NRRD No None NumPy Number NumberOfFrames OB OCT OD OP OPT ORIGINAL OS ObjectType OpenSSL Ophthalmic
OphthalmicFrameLocationSequence Optic Optovue PA PALETTE PARAM_SCAN_02 PARAM_SCAN_04 PDF PEM PGP PNG PRIMARY
PS3 Parquet PatientID PerFrameFunctionalGroupsSequence Photography PhotometricInterpretation PhysicalSize
PixelData PixelMeasures PixelMeasuresSequence PixelRepresentation PixelSpacing
PixelValueTransformationSequence Pixels PlaneOrientationSequence PlanePositionSequence Positions R RAR RGB
RGBA RGBX RangeBytes Raw ReferenceCoordinates ReflectanceLevels Refused Resampling RescaleIntercept
RescaleSlope Retina Rows SCANDEPTH SCANS SCANTYPE SCT SIZ SOC SOI SOP SOPClassUID SOPInstanceUID SQLite SYX
SamplesPerPixel Scale Secondary SeriesInstanceUID ShardPlan SharedFunctionalGroupsSequence Size
SliceThickness Some Sources SpacingBetweenSlices Spectralis StackID Storage StudyDate T TIFF TXT
TemporalPositionIndex The There Tomography Topcon True Txt UID UTF Unit Values W WebP What WhiteIsZero
WorkerPool X XML XYB YBR_FULL YBR_FULL_422 YBR_ICT YBR_PARTIAL_420 YBR_PARTIAL_422 YBR_RCT YX YXS Z ZCT ZIP
ZIP64 ZYX Zeiss a above absolute acquired add after again against alike all allocated allow allowed allows
among an anatomic_region and anew angio angle animation annex another application archive are around arr_0
array arrays as ascanlength ascans ascanspacing ascansperbscan ascii asked asks assumed assumed_spacing at
available axes axial axialspacing axis be became because become becomes before beginning begins behind being
believed below beside better between beyond big bioptigen bit bits bits_allocated bits_differ_from_header
bits_stored black blank_frames bmp both bottom boxes brighter brightest broken bscandistance bscans
bscanspacing build but by byte bytes byteskip bz2 bzip2 call came can cannot centre channels char child
chunk chunks circle circles claims class climbing cm code codec codestream coherence colour cols column
columns come comes comma command compressed compression concatenation config config_digest confirms constant
content contradict contradicts convert converted converters could counts cover cp437 crashed crc32 crop_pad
cross csv cube cubes cubesize curve cut damaged dark data database datafile dataset date day dcm declared
declares decode decoded decoded_fast decoded_level decoder decoder_crash decoder_error decoder_timeout deep
deeper deflated degree degrees depth depthspacing description detail device dhw dicom did differ differs
dimension directions directly directories directory disagree distancebetweenbscans do document does domain
done double download draw duplicate dx dy dz e2e each early element else empty encoding encrypted end ended
endian ending ends entries entry equal_pixels error etag even evenly every everybody exactly exceeds
exchanged exit extended extent extra eye eye_differs_by_frame eye_differs_from_manifest
eye_differs_from_name eyes eyescanned failed far fast fast_axis_reversed fastscanlength fda fds fetched few
fewer field fields file filepath files find finish finite first flag flags float floats folder follows for
forkserver format found fourth fragment fragments frame frame_count frame_locations_missing frame_order
frames frames_lost frames_mirrored frames_sorted from gap gcc geometry geometry_circle geometry_line
geometry_mixed geometry_radial geometry_uneven geometry_unknown git give given goes greater grey grid group
groups guard gz gzip gzipped harmed has hash have hb hdr head header height hold holds hostile how html hw
hwd id ids if ignore image imagecodecs images images_left_out imaging img implausible_axial_spacing
implausible_lateral_spacing implausible_slice_spacing in inch index information inside installed int int16
int16_t int32 int32_t int64 int64_t int8 int8_t intercept interleave interval1 into invalid is it item items
its itself j2k j2k_lossy journal jpe jpeg jpg json key kind kinds know known larger last lateral laterality
lateralspacing latin le lead least leaves left length lengths less letters level levels levels_rescaled
library lie lies like line lines lineskip link list listing lists little local localizer locations locator
lock long longlong look looked looks lost macOS machine magic main make makes manifest manufacturer
manufacturer_model_name manufacturers_model_name many mapped mapped_to_uint8 mark marker markers mask mat
max_output_voxels may mean medium member members memory mend meta metaimage method mha mhd micron microns
missing missing_file missing_library mixed mm model more most moves much n_frames name names native needed
negative neither nerve nested never next nhdr nibabel nifti nii nm no no_pixel_data no_retina_frames noise
none nor not not_dicom not_oct nothing nowhere npy npz nrrd number number_of_frames numbered numberofascans
numberofbscans numberofframes numbers object objects oct oct_bscans octa octshard of off offset offsets
often ok on once one ones onh only oom_kill opposite opt optical optovue or order other others ours out
outside overlap overlaps own pachymetry pachymetrywide packed page pages parallel parquet part part_of_scan
partial participant participants parts parts_differ path patient pattern pdf people per per_frame perhaps
person photometric_interpretation pictures pixdim pixel pixel_representation pixel_spacing
pixel_spacings_differ pixels pixelsperascan place placeholder places plain plan plan_digest plane plugins
png pointer pos positions preamble prep process promised promises protocol put puts pydicom pylibjpeg
qform_code quality_layers quality_mode radial radius_mm raised ran range raster rates raw reaches read
reading reads ready real reason recommended recommended_split record reduced reference reflectance refusal
refused region release rename repeat repeats replace representation requires rescale resize resolution rest
restart retina retinal_oct right room root round row rows run runs said same sample samples
samples_per_pixel samplesperascan sandbox saturated save say says scan scanarea scandepth scandepthz
scanheight scanlength scanlengthx scanlengthy scanname scanned scanpattern scans scansize scantype scanwidth
sdb search seek segment self sense sequence sequences series serpentine server several several_volumes
sform_code sha256 shape shape_differs_from_manifest shape_differs_from_name shape_out shard shards share
shared shared_uid short show sig sign signed single size size1 sizes skip skipped slice slice_axis
slice_places slice_step_from_locations slice_step_from_manifest slice_step_from_per_frame
slice_step_from_positions slice_step_from_shared slice_step_from_square_scan slice_step_from_top_level
slice_step_unknown slice_steps_differ slice_thickness slice_thickness_is_column_spacing
slice_thickness_is_not_step slices slices_are_no_stack slicespacing slo_cols slo_rows slope
slow_axis_flipped slowscanlength so some something sop_instance_uid source source_id sources space spaced
spacedirections spaceunits spacing spacing_from_angle spacing_is_placeholder spacing_looks_swapped
spacing_mm spacing_out spacing_unreadable spacing_varies_by_frame spacingbetweenbscans spacings split spokes
square stable stack stacks stands start started status std step steps stopped store stored stretched
structural_oct study such supported surrogateescape symbolic syntax table tags taken tar tell tells test
text than that the their them then there these they thickness thicknesses this those though threads three
through tif tiff tifffile tiles time times to together told too too_large top top_level topcon_triton total
train training transfer transparency transparent tried true truncated trusted tsv turned turns twice two txt
type uchar uid uid_differs_from_manifest uint uint16 uint16_t uint32 uint32_t uint64 uint64_t uint8 uint8_t
ulonglong um under unequal uneven unit units unknown unless unpack unpacked unreachable unreadable
unreadable_member unsigned unsupported_syntax unzip unzip_memory up usage used ushort usual utf val valid
validation value values varies vectors version video vmstat vol volume volumes vox_offset voxel voxels want
was way ways were what whd where which whole whose wide width window with within without words worker
workers would write writes written x xscanlength xspacing xy xyzt_units xz yscanlength zeiss_cirrus zero
zeros zip zlib zraw zscandepth zstd µm
"""
WORDS = frozenset(_TEXT.split())

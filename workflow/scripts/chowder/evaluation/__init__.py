"""AUC, lesions, FROC, resampling, localisation, scoring of any folder of detections."""

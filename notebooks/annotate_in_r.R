# Annotates a data frame from R. Rscript annotate_in_r.R IN.csv OUT.csv [COLUMN] [MODEL]
# RETICULATE_PYTHON names the Python that emolib is installed in; see annotate_in_r.md.
library(reticulate)

given <- commandArgs(trailingOnly = TRUE)
column <- if (length(given) > 2) given[3] else "text"
model <- if (length(given) > 3) given[4] else "emo-smollm2-135m-profile"

# A data frame, and one with affect beside every row.
annotate <- function(rows, column = "text", ...) {
  texts <- rows[[column]]
  if (is.null(texts)) stop("no column ", column, ": there are ", toString(names(rows)))
  texts <- lapply(as.character(texts), function(text) if (is.na(text)) NULL else text)
  found <- import("emolib", convert = FALSE)$annotate(texts, ...)
  # As CSV between the two: R's and pandas' missing values differ, and so do their versions.
  cells <- py_to_r(found$drop(columns = "text")$to_csv(index = FALSE))
  found <- read.csv(text = cells, na.strings = "")
  is_logical <- sapply(found, function(x) all(x %in% c("True", "False", NA)))
  found[is_logical] <- lapply(found[is_logical], as.logical)
  cbind(rows, found)
}

rows <- read.csv(given[1], encoding = "UTF-8", check.names = FALSE)
annotated <- annotate(rows, column, model = model, progress = FALSE)
write.csv(annotated, given[2], row.names = FALSE, na = "", fileEncoding = "UTF-8")
print(summary(annotated$valence))
